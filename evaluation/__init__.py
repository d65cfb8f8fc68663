"""Benchmarks for anything that embeds images and texts. Imports nothing of mmcl."""
