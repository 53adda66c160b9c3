"""What every floor uses."""
