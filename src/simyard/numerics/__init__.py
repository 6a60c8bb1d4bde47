"""What needs numpy and scipy: sampling, models, sensitivities. Imported only when it is used."""
