def modern_options(model, options):
    return dict(options)
