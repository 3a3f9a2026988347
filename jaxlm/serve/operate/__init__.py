"""What is done with a service that runs: drift watched, models compared on its requests, several replicas."""
