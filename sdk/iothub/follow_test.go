package iothub_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestFollow: each twin comes once, by the event alone where that is enough, and is read where it is not: at the
// beginning, after a gap, after the stream broke, after what a back end has changed.
func TestFollow(t *testing.T) {
	change := func(id, version int, properties string) string {
		return fmt.Sprintf("id: %d\ndata: {\"id\":\"%[1]d\",\"type\":\"twinChanged\",\"device\":\"d\",\"body\":{\"version\":%d,\"properties\":%s}}\n\n", id, version, properties)
	}
	streams := []string{
		"id: 1\n\n" + ":\n\n" + change(2, 10, `{"reported":{"old":1}}`) + change(3, 11, `{"reported":{"a":{"x":null,"y":2},"$version":5}}`),
		"id: 3\n\n" + change(4, 21, `{"desired":{"b":1}}`),
		"id: 4\n\n" + change(5, 33, `{"reported":{"c":1}}`),
		"id: 5\n\n" + strings.Replace(change(6, 41, `{"reported":{}}`), `"type"`, `"lost":7,"type"`, 1),
	}
	twins := []int{10, 20, 21, 30, 33, 40, 50} // versions, as they are read
	var stream, reads atomic.Int64
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/twins/") {
			n := reads.Add(1) - 1
			if n == 1 { // the hub is about to end
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			n -= min(n, 1)
			fmt.Fprintf(w, `{"deviceId":"d","version":%d,"properties":{"reported":{"a":{"x":1}}}}`, twins[min(int(n), len(twins)-1)])
			return
		}
		fmt.Fprint(w, streams[min(int(stream.Add(1)), len(streams))-1])
	})
	var got []string
	for twin, err := range c.Follow(t.Context(), "d") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, fmt.Sprint(twin.Version, twin.Properties.Reported)); len(got) == 8 {
			break
		}
	}
	want := []string{
		"10 map[a:map[x:1]]",                       // read when the stream has begun
		"11 map[$version:5 a:map[y:2]]",            // told
		"20 map[a:map[x:1]]", "21 map[a:map[x:1]]", // it broke, desired properties
		"30 map[a:map[x:1]]", "33 map[a:map[x:1]]", // it broke, a gap
		"40 map[a:map[x:1]]", "50 map[a:map[x:1]]", // it broke, events were lost
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMerge(t *testing.T) {
	type object = map[string]any
	before := object{"a": 1, "b": object{"c": 1, "d": 2}}
	got := iothub.Merge(before, object{"a": nil, "b": object{"c": 3}, "e": object{"f": nil, "g": 1}})
	want := object{"b": object{"c": 3, "d": 2}, "e": object{"g": 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(object{"a": 1, "b": object{"c": 1, "d": 2}}, before); diff != "" {
		t.Errorf("the document was changed: %s", diff)
	}
}
