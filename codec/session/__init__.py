"""What encode and decode share: tiles, their coding, effort, exact blocks, targets, inspection."""
