"""From scores to answers, and from texts to documents, without torch.

What a model is computed with is hidden behind :class:`polyhead.answering.annotator.Backend`; what the scores of a head
mean, a :class:`polyhead.answering.chooser.Chooser` knows. Both are the same for torch and for an exported model.
"""
