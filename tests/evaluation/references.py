"""The published rules as slow loops over queries and images, written from the protocols and not from the code."""


def rank_one_query(distances, gallery_identities, excluded):
    """Return the ranked identities that the query sees; Python's sort is stable."""
    order = sorted(range(len(distances)), key=lambda j: distances[j])
    return [gallery_identities[j] for j in order if not excluded[j]]


def metrics(distances, query_identities, gallery_identities, excluded, cmc_level, max_rank):
    """Return CMC, mAP, mINP and the number of valid queries."""
    cmc, precisions, penalties = [0] * max_rank, [], []
    for i, identity in enumerate(query_identities):
        ranked = rank_one_query(distances[i], gallery_identities, excluded[i])
        if identity not in ranked:
            continue
        hits = [rank for rank, other in enumerate(ranked, start=1) if other == identity]
        precisions.append(sum(n / rank for n, rank in enumerate(hits, start=1)) / len(hits))
        penalties.append(len(hits) / hits[-1])
        listed = list(dict.fromkeys(ranked)) if cmc_level == "identity" else ranked
        for rank in range(listed.index(identity) + 1, max_rank + 1):
            cmc[rank - 1] += 1
    valid = len(precisions)
    return [count / valid for count in cmc], sum(precisions) / valid, sum(penalties) / valid, valid


def exclusions(rule, query_identities, query_cameras, gallery_identities, gallery_cameras, locations):
    """Return which gallery images each query is not to see."""
    marks = []
    for identity, camera in zip(query_identities, query_cameras, strict=True):
        row = []
        for other, other_camera in zip(gallery_identities, gallery_cameras, strict=True):
            if rule == "location":
                row.append(locations.get(camera, camera) == locations.get(other_camera, other_camera))
            else:
                row.append(identity == other and camera == other_camera)
        marks.append(row)
    return marks
