def markdown(results, presets):
    return ""
