"""Arrays in, arrays out: statistics, estimators, FakeQuantize parameters, metrics. numpy only."""
