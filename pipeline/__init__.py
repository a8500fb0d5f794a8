"""Models, drafters, acceptance, decoding, captioning and measuring.

    captioner = load_captioner()                         # pipeline.captioner
    for record in captioner.ask(window, "What is happening?"): ...
"""
