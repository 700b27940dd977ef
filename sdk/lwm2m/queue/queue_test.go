package queue_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/queue"
)

var _ lwm2m.Queue = (*queue.Files)(nil)

func open(t *testing.T, folder string) *queue.Files {
	t.Helper()
	q, err := queue.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func ids(t *testing.T, q lwm2m.Queue, endpoint string) (list []string) {
	t.Helper()
	jobs, err := q.Jobs(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		list = append(list, j.ID)
	}
	return list
}

func TestOrderOutlivesRestarts(t *testing.T) {
	for _, endpoint := range []string{"../a/ä", strings.Repeat("ä", 120)} { // which is longer than the name of a file may be
		t.Run(endpoint[:6], func(t *testing.T) { orderOutlivesRestarts(t, endpoint) })
	}
}

func orderOutlivesRestarts(t *testing.T, endpoint string) {
	folder := filepath.Join(t.TempDir(), "queue")
	for _, id := range []string{"c", "b", "a"} {
		if err := open(t, folder).Put(t.Context(), lwm2m.Job{ID: id, Endpoint: endpoint}); err != nil {
			t.Fatal(err)
		}
	}
	q := open(t, folder)
	if diff := cmp.Diff([]string{"c", "b", "a"}, ids(t, q, endpoint)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := ids(t, q, "other"); got != nil {
		t.Errorf("another endpoint has %v", got)
	}
	for range 2 { // the second time it is not there
		if err := q.Remove(t.Context(), lwm2m.Job{ID: "b", Endpoint: endpoint}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"c", "a"}, ids(t, open(t, folder), endpoint)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJobIsKeptWhole(t *testing.T) {
	p := lwm2m.NewPath(3, 0, 15)
	want, err := lwm2m.WriteJob(p, lwm2m.Update, []lwm2m.Record{{Path: p, Value: lwm2m.String("Europe/Berlin")}})
	if err != nil {
		t.Fatal(err)
	}
	want.ID, want.Endpoint, want.Expires = "1", "a", time.Unix(1_700_000_000, 0).UTC()
	q := open(t, t.TempDir())
	if err := q.Put(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got, err := q.Jobs(t.Context(), "a")
	if diff := cmp.Diff([]lwm2m.Job{want}, got, cmp.Comparer(func(a, b lwm2m.Path) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestUnfinishedFilesDoNotCount(t *testing.T) {
	folder := t.TempDir()
	q := open(t, folder)
	if err := q.Put(t.Context(), lwm2m.Job{ID: "1", Endpoint: "a"}); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(folder, "*", "*.json"))
	if err := os.Rename(names[0], names[0]+".new"); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, open(t, folder), "a"); got != nil {
		t.Errorf("jobs %v", got)
	}
}
