"""Datasets: manifests, folders, shards, downloads."""
