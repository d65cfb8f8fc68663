"""Multimodal contrastive learning: train, fine-tune and judge CLIP-style models."""

__version__ = "0.1.0"
