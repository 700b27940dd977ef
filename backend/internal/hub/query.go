package hub

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/query"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// maxPage is how many rows one answer has at most, Azure's.
const maxPage = 100

// A page of rows, and where the next one begins: behind the row with a key, or of aggregates after so many.
type page struct {
	After string `json:"a,omitempty"`
	Taken int    `json:"t,omitempty"` // rows of earlier pages
	Sum   uint32 `json:"s"`           // of the query, so that a token goes with no other
}

// queryDevices answers a query, page by page.
func (h *Hub) queryDevices(w http.ResponseWriter, r *http.Request, _ right) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var body struct{ Query string }
	if err := json.Unmarshal(text, &body); err != nil {
		return twin.Malformed.With("not a query: %v", err)
	}
	q, err := parseQuery(body.Query)
	if err != nil {
		return err
	}
	limit, from, err := readPage(r, crc32.ChecksumIEEE([]byte(body.Query)))
	if err != nil {
		return err
	}
	rows, next, err := h.rows(r.Context(), q, from, limit)
	if err != nil {
		return err
	}
	kind := "Raw"
	if q.Whole() {
		kind = map[string]string{"devices": "Twin", "devices.modules": "Twin", "devices.jobs": "DeviceJob"}[q.From]
	}
	return writePage(w, kind, rows, next)
}

func parseQuery(text string) (*query.Query, error) {
	q, err := query.Parse(text)
	if err != nil {
		return nil, twin.ArgumentInvalid.With("%v", err)
	}
	return q, nil
}

// readPage reads how many rows are wanted, and from where on.
func readPage(r *http.Request, sum uint32) (limit int, from page, err error) {
	limit, from = maxPage, page{Sum: sum}
	if text := r.Header.Get("x-ms-max-item-count"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n == 0 || n < -1 {
			return 0, from, twin.ArgumentInvalid.With("x-ms-max-item-count must be a number from 1 to %d", maxPage)
		}
		if n > 0 { // -1 is as many as there may be
			limit = min(n, maxPage)
		}
	}
	if token := r.Header.Get("x-ms-continuation"); token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || json.Unmarshal(text, &from) != nil || from.Sum != sum || from.Taken < 0 {
			return 0, from, twin.ArgumentInvalid.With("x-ms-continuation is not of this query")
		}
	}
	return limit, from, nil
}

func writePage[T any](w http.ResponseWriter, kind string, rows []T, next *page) error {
	if rows == nil {
		rows = []T{}
	}
	w.Header().Set("x-ms-item-type", kind)
	if next != nil {
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		w.Header().Set("x-ms-continuation", base64.RawURLEncoding.EncodeToString(text))
	}
	return writeJSON(w, http.StatusOK, rows)
}

// maxPageBytes is how large a page becomes: the row that goes beyond is its last.
const maxPageBytes = 4 << 20

// A sheet are the rows of a page.
type sheet struct {
	rows  []json.RawMessage
	bytes int
}

func (s *sheet) add(row query.Document) error {
	text, err := json.Marshal(row)
	s.rows, s.bytes = append(s.rows, text), s.bytes+len(text)
	return err
}

func (s *sheet) full(limit int) bool { return len(s.rows) >= limit || s.bytes >= maxPageBytes }

// rows answers a page of a query's rows; next is nil after the last one.
func (h *Hub) rows(ctx context.Context, q *query.Query, from page, limit int) (rows []json.RawMessage, next *page, err error) {
	if q.Aggregates() {
		return h.groups(ctx, q, from, limit)
	}
	var s sheet
	last, taken := "", from.Taken
	for d, err := range h.documents(ctx, q.From, from.After) {
		if err != nil {
			return nil, nil, err
		}
		if q.Top > 0 && taken >= q.Top {
			break
		}
		row, ok := q.Row(d.document)
		if !ok {
			continue
		}
		if s.full(limit) {
			next = &page{After: last, Taken: taken, Sum: from.Sum}
			break
		}
		if err := s.add(row); err != nil {
			return nil, nil, err
		}
		last, taken = d.key, taken+1
	}
	return s.rows, next, nil
}

// groups answers a page of rows that are made of all documents.
func (h *Hub) groups(ctx context.Context, q *query.Query, from page, limit int) (rows []json.RawMessage, next *page, err error) {
	all, err := q.Groups(values(h.documents(ctx, q.From, "")))
	if err != nil {
		return nil, nil, err
	}
	if q.Top > 0 {
		all = all[:min(q.Top, len(all))]
	}
	var s sheet
	for taken := from.Taken; taken < len(all); taken++ {
		if s.full(limit) {
			return s.rows, &page{Taken: taken, Sum: from.Sum}, nil
		}
		if err := s.add(all[taken]); err != nil {
			return nil, nil, err
		}
	}
	return s.rows, nil, nil
}

// keyed is a document with what it is sorted by.
type keyed struct {
	key      string
	document query.Document
}

func values(documents iter.Seq2[keyed, error]) iter.Seq2[query.Document, error] {
	return func(yield func(query.Document, error) bool) {
		for d, err := range documents {
			if !yield(d.document, err) {
				return
			}
		}
	}
}

// documents are what a query can be about, those behind a key, in order.
func (h *Hub) documents(ctx context.Context, from, after string) iter.Seq2[keyed, error] {
	if from == "devices.jobs" {
		return h.outcomeDocuments(ctx, after)
	}
	return func(yield func(keyed, error) bool) {
		queued, err := h.store.Queued(ctx, "")
		if err != nil {
			yield(keyed{}, err)
			return
		}
		devices := h.store.Devices(ctx)
		if from == "devices.modules" {
			devices = h.store.Modules(ctx, "")
		}
		for d, err := range devices {
			if err == nil && d.ID <= after {
				continue
			}
			if !yield(keyed{d.ID, h.twinDocument(d, queued[d.ID])}, err) {
				return
			}
		}
	}
}

// outcomeDocuments are what jobs have done with devices.
func (h *Hub) outcomeDocuments(ctx context.Context, after string) iter.Seq2[keyed, error] {
	return func(yield func(keyed, error) bool) {
		var all []keyed
		for d, err := range h.store.Documents(ctx, "outcomes", "") {
			var document query.Document
			if err == nil {
				decoder := json.NewDecoder(strings.NewReader(string(d.Text)))
				decoder.UseNumber()
				err = decoder.Decode(&document)
			}
			if err != nil {
				yield(keyed{}, err)
				return
			}
			if d.Name > after {
				all = append(all, keyed{d.Name, document})
			}
		}
		slices.SortFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
		for _, d := range all {
			if !yield(d, nil) {
				return
			}
		}
	}
}

// count is how many rows a query has.
func (h *Hub) count(ctx context.Context, q *query.Query) (int, error) {
	if q.Aggregates() {
		rows, err := q.Groups(values(h.documents(ctx, q.From, "")))
		return len(rows), err
	}
	n := 0
	for d, err := range h.documents(ctx, q.From, "") {
		if err != nil {
			return 0, err
		}
		if q.Matches(d.document) {
			n++
		}
	}
	return n, nil
}
