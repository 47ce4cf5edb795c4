"""Every way into a model's folder, or into what the hub has of it: diffusers, open_clip, transformers.

Each reads the configs first (``figment.model_folders``), runs no code of the model's, takes safetensors only, and says in one
sentence what is wrong. A module a library, each imported when it is needed: they take seconds.
"""
