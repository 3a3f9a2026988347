"""What a service is told about its answers: kept, and made a training set."""
