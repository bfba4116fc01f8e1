"""The project's own suites inside virtual machines with the kernels, init and security modules that users have."""
