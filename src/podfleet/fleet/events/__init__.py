"""What happens to a fleet's servers, told as it happens."""
