"""Arrays in, arrays out: statistics, range estimators, FakeQuantize parameters, rounding, metrics. numpy only."""
