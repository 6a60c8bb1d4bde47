"""What jobs, runs, files and solvers *are*. Standard library only: no I/O, no HTTP, no SQL."""
