"""What tests share: pictures, clips, checkpoints and plans, and pretended hardware."""
