"""Methods and arguments of models in older versions of Keras, and what to use instead."""

REMOVED_METHODS = {
    "fit_generator": "fit",
    "evaluate_generator": "evaluate",
    "predict_generator": "predict",
    "predict_proba": "predict",
    "predict_classes": "predict(x).argmax(axis=1), or predict(x) > 0.5 for one output",
    "save_model": "save",
}
REMOVED_ARGUMENTS = {
    "nb_epoch": "epochs",
    "show_accuracy": "compile(metrics=['accuracy'])",
    "samples_per_epoch": "steps_per_epoch",
    "nb_val_samples": "validation_steps",
    "max_queue_size": "PyDataset(max_queue_size=…)",
    "workers": "PyDataset(workers=…)",
    "use_multiprocessing": "PyDataset(use_multiprocessing=…)",
}
