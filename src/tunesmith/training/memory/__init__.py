"""What a run needs of memory: measured on pretended tensors, solved for, compared, explained."""
