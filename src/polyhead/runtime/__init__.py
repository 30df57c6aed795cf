"""Exported models: answers with onnxruntime, tokenizers and numpy, without torch and transformers."""
