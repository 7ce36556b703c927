"""The result tables of the five papers as data, apart from the files that they are compared with.

Scores are sst/qqp/sts on dev; ``?`` is not reported. Averages are the papers' own.
"""

from __future__ import annotations

from dataclasses import dataclass

TASKS = ("sst", "qqp", "sts")


@dataclass(frozen=True)
class Row:
    """One row: its name, the cells of its columns and its scores by task, with the average under its kind."""

    name: str
    cells: tuple[str, ...]
    scores: dict[str, float]


def scores(text: str) -> dict[str, float]:
    """``.5/.8/.7`` by task, without what is not reported."""
    return {
        task: float(score) for task, score in zip(TASKS, text.split("/"), strict=True) if score.strip() != "?"
    }


def rows(table: str, average: str) -> list[Row]:
    """Lines of ``name | cells … | scores | average``."""
    found = []
    for line in table.strip().splitlines():
        name, *cells, three, mean = (cell.strip() for cell in line.split("|"))
        found.append(Row(name, tuple(cells), scores(three) | ({average: float(mean)} if mean != "?" else {})))
    return found


# Tables 2 and 3: method | order or weights | epochs | batch | dropout | train | dev | plain mean.
ROBUST = rows(
    """
    exp 1  | VM                     | SST only            | 10  | 32 | .3 | .393/.235/.008 | .388/.380/-.009 | .253
    exp 2  | RR+PH                  | QQP,SST,STS         | 3   | 32 | .5 | .491/.824/.883 | .327/.764/.866 | .652
    exp 3  | RR+PH                  | SST,STS,SST,STS,QQP | 3   | 32 | .5 | .859/.921/.876 | .498/.874/.851 | .741
    exp 4  | RR+PH+CL               | STS,SST,QQP,SST,STS | 3   | 16 | .5 | .876/.891/.483 | .483/.810/.878 | .724
    exp 5  | RR+PH+CL               | STS,SST,QQP,SST,STS | 3   | 32 | .5 | .846/.896/.948 | .499/.822/.875 | .732
    exp 6  | RR+PH+CL(Dropout)      | STS,SST,SST,STS,QQP | 5   | 32 | .5 | .964/.935/.968 | .454/.794/.864 | .704
    exp 7  | MT-DNN+PH+CL           | equal               | 5   | 32 | .5 | .977/.850/.985 | .491/.843/.866 | .733
    exp 8  | MT-DNN+PH+CL           | equal               | 5   | 64 | .5 | .968/.855/.988 | .510/.851/.871 | .744
    exp 9  | MT-DNN+DPH(PD)+CL      | equal               | 5   | 64 | .5 | .986/.845/.990 | .521/.842/.875 | .746
    exp 10 | MT-DNN+DPHA(PD)+CL     | QQP x2              | 5   | 64 | .5 | .985/.898/.986 | .520/.851/.870 | .747
    exp 11 | MT-DNN+DPHA+CL         | QQP x2              | 5   | 64 | .3 | .989/.896/.986 | .521/.852/.872 | .748
    exp 12 | MT-DNN+DPHA+CL+GS      | QQP x2              | 5   | 8  | .1 | .858/.891/.962 | .510/.876/.882 | .756
    exp 13 | MT-DNN+DPHA+CL         | QQP x2              | 5   | 64 | .5 | .993/.946/.993 | .511/.883/.885 | .760
    exp 14 | MT-DNN+DPHA+CL         | QQP x2              | 5   | 64 | .1 | .990/.931/.994 | .526/.880/.879 | .762
    exp 15 | MT-DNN+DPHA+CL+SimCSE  | QQP x2              | 3.5 | 64 | .1 | .991/.950/.991 | .508/.879/.881 | .756
    """,
    "plain",
)

# Table 1: pre-QQP | pooling | joint | SMART | U-CL | S-CL | dev | plain mean.
MULTITASK = rows(
    """
    run 0  | y | mean | y | y | n | y | .52/.87/.83 | .74
    run 1  | y | mean | n | y | y | y | .52/.87/.83 | .74
    run 2  | y | mean | n | y | n | y | .52/.87/.83 | .74
    run 3  | y | mean | y | n | y | y | .53/.86/.83 | .74
    run 4  | y | mean | y | y | n | n | .53/.87/.81 | .73
    run 5  | y | mean | n | n | y | y | .53/.87/.81 | .73
    run 6  | y | mean | n | y | n | n | .53/.87/.80 | .73
    run 7  | y | mean | y | y | y | n | .52/.87/.81 | .73
    run 8  | y | mean | y | n | n | y | .50/.87/.82 | .73
    run 9  | y | mean | n | y | y | n | .52/.87/.80 | .73
    run 10 | y | mean | y | n | n | n | .51/.87/.79 | .73
    run 11 | y | mean | n | n | n | n | .50/.86/.79 | .72
    run 12 | y | mean | y | n | y | n | .50/.86/.80 | .72
    run 13 | y | mean | n | n | y | n | .50/.85/.80 | .72
    run 14 | y | cls  | n | n | n | n | .49/.81/.68 | .66
    run 15 | y | cls  | y | n | n | n | .51/.81/.65 | .66
    run 16 | y | cls  | y | y | n | n | .50/.83/.64 | .65
    run 17 | y | cls  | y | n | y | n | .50/.82/.63 | .65
    run 18 | y | cls  | n | n | y | n | .49/.83/.63 | .65
    run 19 | y | cls  | n | y | y | n | .49/.79/.65 | .64
    run 20 | y | cls  | n | y | n | n | .45/.81/.65 | .64
    run 21 | y | cls  | y | y | y | n | .49/.79/.62 | .64
    run 22 | n | cls  | n | n | n | n | .52/.81/.55 | .63
    run 23 | n | cls  | y | n | n | n | .51/.75/.52 | .59
    PT     | n | cls  | n | n | n | n | .31/.64/.21 | .39
    FT     | n | cls  | n | n | n | n | .51/.79/.39 | .56
    """,
    "plain",
)

# Tables 1 and 3: contrastive stage | encoder | pair heads and their hidden layers (qqp, sts) | dev | no average.
FROZEN = rows(
    """
    SimCSE-unsupervised    | simcse     | frozen | concat 2 3 | .449/.809/.696 | ?
    SimCSE-supervised      | supervised | frozen | concat 2 3 | .479/.819/.715 | ?
    SimCSE-supervised single linear sts | supervised | frozen | concat 2 0 | ?/?/.36 | ?
    BERT-bi-encoder        | none       | frozen | concat 2 3 | .467/.771/.524 | ?
    BERT-cross-encoder     | none       | frozen | cross 1 1  | .468/.722/.561 | ?
    BERT-finetuned-single  | none       | tuned  | cross 1 1  | .528/.884/.869 | ?
    Finetuned on all tasks | none       | tuned  | cross 1 1  | .135/.884/.404 | ?
    """,
    "plain",
)

# Figure 3: sampler | sts head | ranking first | dev | overall.
MULTI_BERT = rows(
    """
    Ann+Concat       | annealed     | cross  | n | .529/.889/.866 | .784
    Ann+CoSim        | annealed     | cosine | n | .524/.900/.388 | .706
    Ann+CoSim+MNR    | annealed     | cosine | y | .512/.892/.410 | .703
    Equit+Concat     | proportional | cross  | n | .520/.898/.862 | .782
    Equit+CoSim      | proportional | cosine | n | .514/.904/.428 | .710
    Equit+CoSim+MNR  | proportional | cosine | y | .510/.901/.420 | .707
    Baseline         | round_robin  | dot    | n | .505/.822/.496 | .692
    """,
    "overall",
)

# Tables 1 to 9: contrastive stages (U sets or S, with epochs) | fine-tuning | heads | other change | dev | overall.
SIMPLE = rows(
    """
    Baseline                        | -               | single      | linear linear | -         | .526/.442/-.041 | .483
    Sequential                      | -               | sequential  | linear linear | -         | .300/.581/.172 | .499
    Concurrent                      | -               | concurrent  | linear linear | -         | .502/.625/.126 | .571
    Gradient surgery                | -               | surgery     | linear linear | -         | .493/.625/.184 | .570
    UCL 1 set                       | U sst 2         | single      | linear linear | -         | .520/.384/.068 | .479
    UCL 2 sets                      | U sst 2, U sts 2 | single     | linear linear | -         | .528/.570/.050 | .541
    UCL 2 sets + multi              | U sst 2, U sts 2 | concurrent | linear linear | -         | .514/.625/.183 | .577
    UCL 3 sets + multi              | U all 3         | concurrent  | linear linear | -         | .488/.625/.187 | .569
    Supervised only                 | S 3             | concurrent  | linear linear | -         | .481/.625/.202 | .569
    Unsupervised first              | U all 3, S 3    | concurrent  | linear linear | -         | .482/.625/.155 | .562
    Supervised first                | S 3, U all 3    | concurrent  | linear linear | -         | .487/.625/.196 | .570
    Sup. 3 epochs                   | S 3             | concurrent  | linear linear | -         | .480/.627/.122 | .556
    Sup. 10 epochs, no head         | S 10            | concurrent  | cosine cosine | -         | .493/.434/.447 | .550
    UCL 2 sets + multi, 10 epochs   | U sst 10, U sts 10 | concurrent | linear linear | -       | ?/?/? | .564
    UCL 2 sets + multi, 3 epochs    | U sst 3, U sts 3 | concurrent | linear linear | -         | ?/?/? | .569
    UCL 3 sets + multi, 10 epochs   | U all 10        | concurrent  | linear linear | -         | ?/?/? | .564
    UCL 3 sets + multi, 2 epochs    | U all 2         | concurrent  | linear linear | -         | ?/?/? | .565
    Supervised, 10 epochs           | S 10            | concurrent  | linear linear | -         | ?/?/? | .550
    Supervised, 2 epochs            | S 2             | concurrent  | linear linear | -         | ?/?/? | .564
    UCL 2 sets + multi, lr 1.5e-5   | U sst 2, U sts 2 | concurrent | linear linear | lr 1.5e-5 | .472/.625/.183 | .563
    UCL 2 sets + multi, lr 2e-5     | U sst 2, U sts 2 | concurrent | linear linear | lr 2e-5   | .471/.625/.240 | .572
    UCL 2 sets + multi, dropout .4  | U sst 2, U sts 2 | concurrent | linear linear | dropout .4 | .500/.625/.137 | .565
    UCL 2 sets + multi, sts cosine  | U sst 2, U sts 2 | concurrent | linear cosine | -         | ?/?/? | .593
    Unsupervised first, sts cosine  | U all 3, S 3    | concurrent  | linear cosine | -         | ?/?/? | .588
    Ensemble                        | UCL 2 sets, Sup. 3 epochs, Sup. 10 epochs no head | - | - | - | .528/.627/.447 | .626
    """,
    "overall",
)

TABLES = {
    "robust_embeddings": ROBUST,
    "multitask_embeddings": MULTITASK,
    "frozen_simcse": FROZEN,
    "multi_bert": MULTI_BERT,
    "simple_contrastive": SIMPLE,
}

TRAIN = {("robust_embeddings", row.name): scores(row.cells[-1]) for row in ROBUST} | {
    # Figure 1, with and without SMART.
    ("multitask_embeddings", "run 0"): scores(".63/.94/.99"),
    ("multitask_embeddings", "run 8"): {"sst": 1.0},
}

TEST = {
    ("robust_embeddings", "exp 15"): scores(".534/.887/.885") | {"plain": 0.769},
    ("multitask_embeddings", "run 0"): scores(".52/.87/.83") | {"plain": 0.74},
    ("frozen_simcse", "SimCSE-supervised"): scores(".500/.814/.700") | {"plain": 0.671},
    ("multi_bert", "Ann+Concat"): scores(".536/.891/.870"),
}

# Where a paper's average does not follow from its own scores, whatever the rounding.
WRONG_AVERAGES = {
    ("multi_bert", "Equit+Concat"),
    ("simple_contrastive", "Sequential"),
    ("simple_contrastive", "Concurrent"),
}

# Where text and table, or two tables, disagree: words of the note that says so.
DISAGREEMENTS = {
    ("robust_embeddings", "exp 2"): "section 6.2",
    ("robust_embeddings", "exp 4"): "repeats the row's SST dev value",
    ("robust_embeddings", "exp 11"): ".748, .760, .762",
    ("robust_embeddings", "exp 15"): "0.537 on SST",
    ("multitask_embeddings", "run 0"): "73%",
    ("multitask_embeddings", "run 14"): "naturally boosts",
    ("multitask_embeddings", "PT"): "lower and an upper bound",
    ("multitask_embeddings", "FT"): "lower and an upper bound",
    ("frozen_simcse", "SimCSE-supervised"): "almost on par",
    ("frozen_simcse", "BERT-cross-encoder"): "Two concatenated CLS tokens",
    ("frozen_simcse", "Finetuned on all tasks"): "100K",
    ("multi_bert", "Baseline"): "outputs the cosine similarity",
    ("multi_bert", "Ann+Concat"): "biggest size gap",
    ("multi_bert", "Equit+Concat"): ".783",
    ("simple_contrastive", "Baseline"): "0.0442",
    ("simple_contrastive", "Sequential"): ".489",
    ("simple_contrastive", "Concurrent"): ".563",
    ("simple_contrastive", "UCL 1 set"): "section 5.2",
    ("simple_contrastive", "UCL 2 sets"): "section 4.2.2",
    ("simple_contrastive", "UCL 2 sets + multi"): "+.133",
    ("simple_contrastive", "Supervised only"): "title says unsupervised",
    ("simple_contrastive", "Sup. 3 epochs"): ".481, .625, .202",
    ("simple_contrastive", "Unsupervised first, sts cosine"): "+.026",
    ("simple_contrastive", "Ensemble"): ".446",
}
