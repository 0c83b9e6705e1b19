"""Steps of training and evaluation compiled for absent TPUs: chips, compiled programs and estimates."""
