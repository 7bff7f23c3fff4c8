from monitoring.metrics import exposition
from monitoring.watch import tick


def test_before_anything_happened_there_are_metrics_all_the_same(open_station):
    place = open_station(champion=False).place

    text = exposition(place.engine, place.settings).decode()

    assert "kedge_watched_windows_total 0.0" in text
    assert "kedge_champion_version" not in text


def test_an_alarm_a_verdict_and_the_evidence_are_there_for_prometheus(open_station, birds):
    station = open_station()
    strange, truths = birds.traffic(200, camera="C", strange=True, right=0.5)
    station.arrive(strange)
    station.label(strange[:60], truths[:60])
    tick(station.place)

    text = exposition(station.place.engine, station.place.settings).decode()

    assert "kedge_watched_predictions_total 200.0" in text
    assert 'kedge_verdict{action="label_first"} 1.0' in text
    assert 'kedge_window_atypical_ratio{channel="metadata"} 1.0' in text
    assert 'kedge_alarms_total{lane="gross"}' in text
    assert 'kedge_threshold_log10{detector="embedding",lane="gross"}' in text
    assert "kedge_window_labelled_predictions 60.0" in text
