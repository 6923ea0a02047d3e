"""What people look at after a run: plots, and the page that holds them beside tables."""
