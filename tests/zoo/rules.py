"""What has to hold of every network of the zoo; what does not is named."""


def broken(name, result):
    return []
