"""A small rendered world: scenes with known truth, as RGB frames and simulated events.

    scene = random_scene(seed=7)                       # streams.scenes.world
    image = Renderer(scene, Resolution(346, 260)).frame(t_s=0.5)   # streams.scenes.render
    truth = observe(scene, 0.0, 1.0)                   # what there is to say about a window
"""
