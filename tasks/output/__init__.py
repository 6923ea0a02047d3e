"""What a user gets: the files of a run, its page and its plots."""
