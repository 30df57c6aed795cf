"""Bricks: batches, encoders and the layers that heads are made of."""
