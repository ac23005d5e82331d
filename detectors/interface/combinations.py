"""Settings of a detector that do not go together, told before anything is decoded: planning imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping


def mistaken_combinations(settings: Mapping) -> list[str]:
    """What keeps a detector from being trained with these settings; each begins with the name of a setting.

    Args:
        settings: All of a detector's settings by name. What it does not have is not looked at.
    """
    mistakes = []
    batch_size, gpus = settings.get("batch_size", 1), settings.get("gpus", 1)
    if batch_size % gpus:
        mistakes.append(
            f"batch_size: found {batch_size}, which {gpus} GPUs cannot share; choose a multiple of {gpus}, "
            "or other gpus"
        )
    if settings.get("optimizer") == "sam":
        if settings["precision"] == "16-mixed":
            mistakes.append(
                "precision: found '16-mixed' with the optimizer 'sam', whose two passes a loss scaling cannot follow; "
                "set precision to 'bf16-mixed' or '32-true'"
            )
        if settings["accumulate_batches"] > 1:
            mistakes.append(
                f"accumulate_batches: found {settings['accumulate_batches']} with the optimizer 'sam', which needs the "
                "whole batch in both of its passes; set it to 1"
            )
    if "embedding_epochs" in settings and settings["embedding_epochs"] >= settings["epochs"]:
        mistakes.append(
            f"embedding_epochs: found {settings['embedding_epochs']} with {settings['epochs']} epochs, which leaves "
            "none for the classifier; raise epochs or lower embedding_epochs"
        )
    return mistakes
