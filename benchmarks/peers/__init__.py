"""What Taak is measured beside; each family installs itself into an environment of its own."""
