"""From other projects' files to ours, and back: weights and annotations."""
