package hub_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// ask answers all rows of a query, page by page, and how many pages there were.
func (r *running) ask(t *testing.T, query string, size int) (rows []map[string]any, pages int, kind string) {
	t.Helper()
	headers := map[string]string{"x-ms-max-item-count": fmt.Sprint(size)}
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	for {
		status, text, header := r.exchange(t, hub.PolicyService, "POST", "/devices/query?api-version=2021-04-12", headers, string(body))
		var page []map[string]any
		if err := json.Unmarshal([]byte(text), &page); err != nil || status != 200 || len(page) > size {
			t.Fatal(query, status, text, err)
		}
		rows, pages, kind = append(rows, page...), pages+1, header.Get("x-ms-item-type")
		if headers["x-ms-continuation"] = header.Get("x-ms-continuation"); headers["x-ms-continuation"] == "" {
			return rows, pages, kind
		}
	}
}

// TestQuery: what was answered is found by the next query, page by page.
func TestQuery(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	for i := range 7 {
		id := fmt.Sprintf("dev%d", i)
		h.create(t, id)
		site := []string{"north", "south"}[i%2]
		if _, err := h.owner.PatchTwin(t.Context(), id, iothub.TwinPatch{Tags: map[string]any{"site": site}, Desired: map[string]any{"n": i}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if status, body := h.rest(t, hub.PolicyOwner, "PUT", "/devices/dev0/modules/mod", "", `{}`); status != 200 {
		t.Fatal(status, body)
	}
	ids := func(rows []map[string]any) (ids string) {
		for _, row := range rows {
			ids += strings.TrimPrefix(row["deviceId"].(string), "dev")
		}
		return ids
	}
	for _, test := range []struct {
		query       string
		size, pages int
		kind, ids   string
	}{
		{"SELECT * FROM devices", 100, 1, "Twin", "0123456"},
		{"SELECT * FROM devices", 3, 3, "Twin", "0123456"},
		{"SELECT * FROM devices WHERE tags.site = 'north'", 2, 2, "Twin", "0246"},
		{"SELECT TOP 3 * FROM devices WHERE tags.site = 'north'", 2, 2, "Twin", "024"},
		{"SELECT deviceId FROM devices WHERE properties.desired.n > 4 AND connectionState = 'Disconnected'", 9, 1, "Raw", "56"},
		{"SELECT * FROM devices.modules", 9, 1, "Twin", "0"},
		{"SELECT * FROM devices WHERE cloudToDeviceMessageCount = 1", 9, 1, "Twin", ""},
	} {
		rows, pages, kind := h.ask(t, test.query, test.size)
		if ids(rows) != test.ids || pages != test.pages || kind != test.kind {
			t.Errorf("%s: %s in %d pages of %s", test.query, ids(rows), pages, kind)
		}
	}
	rows, pages, _ := h.ask(t, "SELECT tags.site AS site, COUNT() AS n FROM devices GROUP BY tags.site", 1)
	if got := fmt.Sprint(rows); got != "[map[n:4 site:north] map[n:3 site:south]]" || pages != 2 {
		t.Error(got, pages)
	}
	rows, _, _ = h.ask(t, "SELECT * FROM devices WHERE deviceId = 'dev1'", 1)
	twin, err := h.owner.Twin(t.Context(), "dev1")
	if err != nil || rows[0]["etag"] != twin.ETag {
		t.Error("the row is not the twin", rows, err)
	}
	for name, test := range map[string]struct{ body, count, token string }{
		"no query":     {`{"query":"SELECT"}`, "", ""},
		"no JSON":      {`{`, "", ""},
		"page":         {`{"query":"SELECT * FROM devices"}`, "many", ""},
		"foreign page": {`{"query":"SELECT * FROM devices"}`, "", "eyJhIjoiZGV2MSIsInMiOjF9"},
		"broken page":  {`{"query":"SELECT * FROM devices"}`, "", "!"},
	} {
		headers := map[string]string{"x-ms-max-item-count": test.count, "x-ms-continuation": test.token}
		if status, body := h.restWith(t, hub.PolicyService, "POST", "/devices/query", headers, test.body); status != 400 {
			t.Error(name, status, body)
		}
	}
	if status, _ := h.rest(t, hub.PolicyDevice, "POST", "/devices/query", "", `{"query":"SELECT * FROM devices"}`); status != 401 {
		t.Error(status)
	}
}

// TestLargePages: a page of large rows has fewer, and the next goes on behind them.
func TestLargePages(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	const devices = 6
	for i := range devices {
		id := fmt.Sprint("dev", i)
		h.create(t, id)
		if _, err := h.owner.PatchTwin(t.Context(), id, iothub.TwinPatch{Tags: map[string]any{"a": strings.Repeat("<", 4000)}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	var columns []string // of 16 kB each, which JSON makes six times as long
	for i := range 15 {
		columns = append(columns, fmt.Sprint("CONCAT(tags.a, tags.a, tags.a, tags.a) AS x", i))
	}
	for query, want := range map[string]int{
		"SELECT deviceId, " + strings.Join(columns, ", ") + " FROM devices":            2,
		"SELECT deviceId FROM devices":                                                 1,
		"SELECT tags.a, deviceId, COUNT() AS n FROM devices GROUP BY tags.a, deviceId": 1,
	} {
		rows, pages, _ := h.ask(t, query, 100)
		if len(rows) != devices || pages != want {
			t.Errorf("%.40s: %d rows in %d pages, want %d", query, len(rows), pages, want)
		}
		for i, row := range rows {
			if row["deviceId"] != fmt.Sprint("dev", i) {
				t.Errorf("%.40s: row %d is of %v", query, i, row["deviceId"])
			}
		}
	}
}
