"""What a careful user of Ray Tune, torchvision and MLflow writes today. Nothing here is this project's."""
