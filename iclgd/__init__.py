"""iclgd: when a transformer learns in its context, is that gradient descent?"""

__version__ = "0.1.0"
