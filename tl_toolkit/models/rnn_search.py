"""Greedy and beam search for recurrent models: the texts of transformers' `generate()`, with less work per token.

A step costs a recurrent model so little that most of transformers' time goes into copies of the scores, a sort of the
whole vocabulary, and Python. These loops sort only a few chunks of the vocabulary, and finished rows leave the batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import EosTokenCriteria, GenerationConfig, GenerationMixin, MaxLengthCriteria

CHUNK = 64  # tokens; the maxima of vectorised chunks of this size are the cheapest
NEVER = -1e9  # transformers' score of a text that does not exist


class Finished(NamedTuple):
    """The best finished texts of every sentence, as many as there are beams.

    Attributes:
        texts: (batch, beams, length), filled up after their ends.
        scores: (batch, beams), log-probabilities divided by `length ** length_penalty`; `NEVER` if there is no text.
        lengths: (batch, beams), with the prompt.
    """

    texts: Tensor
    scores: Tensor
    lengths: Tensor

    def of(self, sentences: Tensor) -> Finished:
        """The texts of these sentences."""
        return Finished(*(part[sentences] for part in self))

    def padded(self, length: int, fill: int) -> Tensor:
        """The texts, filled up or cut to this length."""
        return functional.pad(self.texts, (0, length - self.texts.shape[2]), value=fill)

    def joined(self, texts: Tensor, scores: Tensor, fill: int) -> Finished:
        """The best of these texts and others, which are at least as long."""
        length = texts.shape[2]
        all_texts = torch.cat([self.padded(length, fill), texts], dim=1)
        best, chosen = torch.cat([self.scores, scores], dim=1).topk(self.scores.shape[1])
        rows = torch.arange(len(chosen), device=chosen.device)[:, None]
        lengths = functional.pad(self.lengths, (0, texts.shape[1]), value=length)
        return Finished(all_texts[rows, chosen], best, lengths[rows, chosen])


class SearchMixin(GenerationMixin):
    """Searches with the loops of this file, and leaves to transformers what they do not know.

    They compute all log-probabilities, so they work with any logits processors. They stop only at end tokens and at the
    maximal length, and return only the texts.
    """

    def _sample(self, input_ids: Tensor, **given: Any) -> Any:
        if self._is_usual(**given):
            return self._greedy_search(input_ids, **given).clone()  # no inference tensor
        return super()._sample(input_ids, **given)

    def _beam_search(self, input_ids: Tensor, **given: Any) -> Any:
        if self._is_usual(**given):
            return self._search_beams(input_ids, **given).clone()
        return super()._beam_search(input_ids, **given)

    def _is_usual(
        self,
        generation_config: GenerationConfig,
        stopping_criteria: Any,
        logits_processor: Any,
        synced_gpus: bool = False,
        **others: Any,
    ) -> bool:
        known = {"attention_mask", "decoder_attention_mask", "encoder_outputs", "logits_to_keep", "use_cache"}
        return (
            not generation_config.do_sample
            and not generation_config.return_dict_in_generate
            and not generation_config.low_memory
            and bool(generation_config.use_cache)
            and not synced_gpus
            and all(type(criterion) in (EosTokenCriteria, MaxLengthCriteria) for criterion in stopping_criteria)
            and all(value is None for name, value in others.items() if name not in known)
        )

    def _begin(self, input_ids: Tensor, generation_config: GenerationConfig, others: Any) -> tuple[Tensor, Any]:
        """Logits (rows, vocabulary) after the prompt, and the state."""
        outputs = self._prefill(input_ids, generation_config, others)
        return outputs.logits[:, -1].float(), outputs.past_key_values

    def _continue(self, tokens: Tensor, cache: Any, others: dict[str, Any]) -> Tensor:
        """Logits (rows, vocabulary) after one more token (rows,); replaces the states in the cache."""
        inputs: dict[str, Any] = {"past_key_values": cache, "use_cache": True, "return_dict": True}
        if others.get("encoder_outputs") is None:
            inputs["input_ids"] = tokens[:, None]
        else:
            inputs |= {"encoder_outputs": others["encoder_outputs"], "decoder_input_ids": tokens[:, None]}
        return self(**inputs).logits[:, -1].float()

    @torch.inference_mode()
    def _greedy_search(
        self,
        input_ids: Tensor,
        generation_config: GenerationConfig,
        stopping_criteria: Any,
        logits_processor: Any,
        **others: Any,
    ) -> Tensor:
        """The most probable token at every step: (rows, length), with padding after the ends."""
        pad = generation_config._pad_token_tensor
        texts, columns = input_ids, [input_ids]
        running = torch.arange(len(input_ids), device=input_ids.device)  # the rows that are not finished
        logits, cache = self._begin(input_ids, generation_config, others)
        while True:
            tokens = logits_processor(texts, logits).argmax(dim=-1, keepdim=True)
            texts = torch.cat([texts, tokens], dim=1)
            column = torch.full_like(input_ids[:, :1], 0 if pad is None else int(pad))
            columns.append(column.index_copy(0, running, tokens))
            is_open = ~stopping_criteria(texts, None)
            if not is_open.any():
                return torch.cat(columns, dim=1)
            if not is_open.all():
                texts, running = texts[is_open], running[is_open]
                cache.batch_select_indices(is_open.nonzero().squeeze(1))
            logits = self._continue(texts[:, -1], cache, others)

    @torch.inference_mode()
    def _search_beams(
        self,
        input_ids: Tensor,
        generation_config: GenerationConfig,
        stopping_criteria: Any,
        logits_processor: Any,
        **others: Any,
    ) -> Tensor:
        """Beam search as in Sutskever et al. 2014, section 3.2: (sentences x texts to return, length).

        The rules for finished texts are those of transformers: a text that ends is kept if it is among the best `beams`
        continuations; a sentence is closed when its best running text cannot surpass its worst finished one, or, with
        `early_stopping`, when as many texts as beams have finished.

        Args:
            input_ids: (sentences x beams, length), the prompt of every beam.
        """
        beams, penalty = generation_config.num_beams, generation_config.length_penalty
        pad, ends = generation_config._pad_token_tensor, generation_config._eos_token_tensor
        fill = int(pad or ends[0]) if ends is not None else -1  # as in transformers, padding token 0 included
        # With so many candidates, enough remain if all beams continue with every end token.
        number = max(2, 1 + (0 if ends is None else len(ends))) * beams
        prompt = input_ids.shape[1]

        texts = input_ids.view(-1, beams, prompt)
        scores = torch.full(texts.shape[:2], NEVER, device=input_ids.device)
        finished = Finished(texts, scores, torch.zeros_like(texts[:, :, 0]))
        scores = scores.index_fill(1, texts.new_zeros(1), 0.0)  # all beams are equal: only the first one continues
        sentences = torch.arange(len(texts), device=input_ids.device)  # those that are not closed
        closed: list[tuple[Tensor, Finished]] = []
        logits, cache = self._begin(input_ids, generation_config, others)
        while True:
            log_probs = torch.log_softmax(logits, dim=-1, out=logits)  # fresh memory of this size is slow
            log_probs = logits_processor(texts.flatten(0, 1), log_probs)
            candidate_scores, beam, token = best_continuations(log_probs, scores, number)
            rows = torch.arange(len(texts), device=texts.device)[:, None]
            candidates = torch.cat([texts[rows, beam], token[:, :, None]], dim=2)
            has_ended = stopping_criteria(candidates.flatten(0, 1), None).view_as(token)
            length = candidates.shape[2] - prompt

            scores, chosen = candidate_scores.where(~has_ended, NEVER).topk(beams)
            texts, parents = candidates[rows, chosen], rows * beams + beam.gather(1, chosen)
            if has_ended.any():
                # Only the best `beams` candidates may finish; the others replace those that finish.
                final = (candidate_scores / length**penalty).where(has_ended, NEVER)
                finished = finished.joined(candidates[:, :beams], final[:, :beams], fill)

            worst = finished.scores.amin(dim=1)
            is_longest_best = generation_config.early_stopping == "never" and penalty > 0
            reached = generation_config.max_length - prompt if is_longest_best else length
            is_open = (scores[:, 0] / reached**penalty > worst) & ~has_ended.all()
            if generation_config.early_stopping is True:
                is_open &= worst == NEVER
            if is_open.all():
                cache.reorder_cache(parents.flatten())
            else:
                closed.append((sentences[~is_open], finished.of(~is_open)))
                if not is_open.any():
                    return _best_of_all(closed, generation_config.num_return_sequences, fill)
                sentences, texts, scores, finished = (
                    sentences[is_open],
                    texts[is_open],
                    scores[is_open],
                    finished.of(is_open),
                )
                cache.batch_select_indices(parents[is_open].flatten())
            del logits, log_probs
            logits = self._continue(texts[:, :, -1].flatten(), cache, others)


def best_continuations(log_probs: Tensor, scores: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations of each sentence's beams by one token: `topk` over (batch, beams x vocabulary).

    The best are in the chunks with the greatest maxima, so only these few chunks are sorted.

    Args:
        log_probs: (batch x beams, vocabulary).
        scores: (batch, beams), of the texts to continue.
        number: how many for each sentence.

    Returns:
        Their scores in descending order, their beams and their tokens, (batch, number) each.
    """
    batch, vocabulary = scores.shape[0], log_probs.shape[1]
    if vocabulary % CHUNK:
        log_probs = functional.pad(log_probs, (0, -vocabulary % CHUNK), value=-torch.inf)
    chunks = log_probs.view(*scores.shape, -1, CHUNK)  # (batch, beams, chunks, CHUNK)
    maxima = (chunks.amax(dim=3) + scores[:, :, None]).flatten(1)
    chosen = maxima.topk(min(number, maxima.shape[1])).indices  # (batch, number), over beams x chunks
    rows = torch.arange(batch, device=scores.device)[:, None]
    sums = chunks.flatten(1, 2)[rows, chosen] + scores.gather(1, chosen // chunks.shape[2])[:, :, None]
    best, places = sums.flatten(1).topk(number)  # over chosen chunks x CHUNK
    chosen = chosen.gather(1, places // CHUNK)
    beam = chosen // chunks.shape[2]
    token = (chosen - beam * chunks.shape[2]) * CHUNK + places % CHUNK
    # Padding is only chosen where all tokens are forbidden; it must still be a token.
    return best, beam, token.clamp_(max=vocabulary - 1)


def _best_of_all(closed: list[tuple[Tensor, Finished]], number: int, fill: int) -> Tensor:
    """The `number` best texts of every sentence, in the order of the sentences: (sentences x number, length)."""
    length = max(int(finished.lengths[:, :number].max()) for _, finished in closed)
    order = torch.cat([sentences for sentences, _ in closed]).argsort()
    texts = torch.cat([finished.padded(length, fill)[:, :number] for _, finished in closed])
    return texts[order].flatten(0, 1)
