"""For authors of plug-ins, and for our own tests."""
