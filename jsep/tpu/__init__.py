"""Training steps compiled for TPUs that need not be present: chips, compiled programs and estimates of a step."""
