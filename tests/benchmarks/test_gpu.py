import json

from benchmarks.gpu import SHAPES, main


def test_the_gpu_benchmark_runs_with_tiny_networks_on_any_machine(tmp_path):
    main(["--tiny", "--output", str(tmp_path / "gpu.json")])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["rendering"].keys() == SHAPES.keys()
    for rows in found["rendering"].values():
        assert rows[0]["way"] == "papers' loop"
        assert [row["batch"] for row in rows[1:3]] == [1, 2]
        assert all(row["images_per_second"] > 0 and row["mfu"] > 0 for row in rows[1:])
    (scored,), (trained,) = found["scoring"].values(), found["training"].values()
    assert min(scored["images_per_second"], scored["papers' loop"]) > 0
    assert trained["times_plain"]["a_second"] > 0
