"""The data, network and devices of a configuration, checked before anything is written or trained."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jsep.costs import CostTable, count
from jsep.data import IMAGENET_MEAN, IMAGENET_STD, Dataset, Feed, load_choice, make_feed
from jsep.data.feed import steps_per_epoch
from jsep.errors import UserError
from jsep.layers.dice import follows_image_size
from jsep.models import create_model
from jsep.models.factored import factored
from jsep.train.parallel import AXIS, Devices
from jsep.train.recipe import Data, Recipe, RunConfig
from jsep.train.select import still_frozen
from jsep.train.step import Statistics, frozen_norms
from jsep.trees import differences


@dataclasses.dataclass(frozen=True)
class Setup:
    """The objects that training and evaluation have in common.

    Attributes:
        config: the configuration that they were made from, with the mean and deviation that images are normalised by,
            and the share of the shorter side that evaluated images keep.
        dataset: the data set.
        model: the network, whose batch norms share statistics over the devices.
        devices: the devices that share every batch.
        training: the training images, in batches.
        testing: the test images, in batches.
        costs: parameters, MACs and FLOPs of the network, layer by layer.
    """

    config: RunConfig
    dataset: Dataset
    model: nn.Module
    devices: Devices
    training: Feed
    testing: Feed
    costs: CostTable

    @property
    def recipe(self) -> Recipe:
        """The recipe of the training step, which does not crop images again that were cropped as they were decoded."""
        recipe = self.config.recipe
        if not self.training.crops:
            return recipe
        return dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, resized_crop=False))

    @property
    def statistics(self) -> Statistics:
        """The mean and standard deviation that images are normalised with."""
        return statistics_of(self.config.recipe.data, self.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in one pass over the training images."""
        return steps_per_epoch(self.training.size, self.config.recipe.batch_size)


def prepare(config: RunConfig, dataset: Dataset | None = None) -> Setup:
    """Make the data, network and devices of a configuration, and check all that evaluation needs.

    Args:
        config: the configuration.
        dataset: its data set if it is loaded already; None loads it.

    Returns:
        The setup of training and evaluation.

    Raises:
        UserError: there is no such network, option, data set or device, or they do not fit together.
    """
    recipe, choice = config.recipe, config.recipe.data
    devices = Devices(recipe.devices)
    # before the data is loaded: a mistyped name should not wait for it
    network = create_model(config.model, dtype=jnp.dtype(recipe.dtype), axis_name=AXIS, **config.options)
    if dataset is None:
        dataset = load_choice(choice)
    if choice.normalize == "imagenet" and dataset.image_shape[-1] != len(IMAGENET_MEAN):
        raise UserError(f"`normalize`=imagenet needs colour images; those of {dataset.name} have one channel")
    model = factored(network.clone(num_classes=len(dataset.class_names)), config.factored)
    mean, std = statistics_of(choice, dataset)
    known = dataclasses.replace(choice, mean=mean, std=std, crop_share=dataset.crop_share)
    if dataset.eval_shape != dataset.image_shape:
        _check_evaluation(model, dataset, config.model)
    return Setup(
        config=dataclasses.replace(config, recipe=dataclasses.replace(recipe, data=known)),
        dataset=dataset,
        model=model,
        devices=devices,
        training=make_feed(dataset.train, dataset, choice.workers, recipe.augment),
        testing=make_feed(dataset.test, dataset, choice.workers),
        costs=count(model, dataset.image_shape),  # raises UserError if the network cannot take these images
    )


def _check_evaluation(model: nn.Module, dataset: Dataset, name: str) -> None:
    """Check that a network that is trained on images of one size can be evaluated on those of another."""
    count(model, dataset.eval_shape)  # raises UserError if the network cannot take these images
    images = (jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in (dataset.image_shape, dataset.eval_shape))
    trained, tested = (jax.eval_shape(model.init, jax.random.key(0), image) for image in images)
    if wrong := differences(trained, tested, follows_image_size):
        raise UserError(
            f"`eval_size`={dataset.eval_size}: the shape of {wrong[0]} of {name} depends on the size of its images, "
            f"which are trained at {dataset.image_shape[0]} pixels: leave it out"
        )


def check_training(setup: Setup) -> None:
    """Check that the devices can share a batch, that the network can train on it, and that there are images for one.

    Raises:
        UserError: the batch does not fit the devices, the network or the data.
    """
    recipe = setup.config.recipe
    setup.devices.check_batch(recipe.batch_size, recipe.optimizer.accumulate, recipe.objective.mixes)
    steps_per_epoch(setup.training.size, recipe.batch_size)
    if recipe.batch_size == recipe.optimizer.accumulate:  # batch norms see a single image, which may be too little
        model, image = setup.model, jax.ShapeDtypeStruct((1, 1, *setup.dataset.image_shape), jnp.float32)

        def train(image: Array) -> Any:
            variables = model.init(jax.random.key(0), image)
            rngs = {"dropout": jax.random.key(0)}
            with frozen_norms(still_frozen(recipe.optimizer.freeze, recipe.schedule.epochs - 1)):
                return model.apply(variables, image, train=True, mutable=["batch_stats"], rngs=rngs)

        jax.eval_shape(jax.vmap(train, axis_name=AXIS), image)


def statistics_of(choice: Data, dataset: Dataset) -> Statistics:
    """Return what images are normalised with.

    Args:
        choice: the choice of the data set, with its `normalize`.
        dataset: the data set.

    Returns:
        The mean and the standard deviation of each channel, for values from 0 to 1.

    Raises:
        UserError: the mean of the choice has more or fewer values than images have channels.
    """
    channels = dataset.image_shape[-1]
    if choice.mean:
        if len(choice.mean) != channels:
            raise UserError(
                f"`mean`={choice.mean}: the images of {dataset.name} have {channels} channels; give as many values, "
                f"or a data set of images with {len(choice.mean)}"
            )
        return choice.mean, choice.std
    if choice.normalize == "dataset":
        return dataset.mean, dataset.std
    if choice.normalize == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    return (0.0,) * channels, (1.0,) * channels
