"""What tests of sound share: folders of tones and noises, tiny checkpoints of every kind."""
