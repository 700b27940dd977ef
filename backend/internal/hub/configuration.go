package hub

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/query"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Bounds of configurations, Azure's.
const (
	maxConfigurations = 100
	maxMetrics        = 5
)

// configuration sets desired properties of all devices that fulfil a condition, in Azure's form. Where two set the same
// property, the one of higher priority does, and of two with the same the newer one.
type configuration struct {
	ID        string            `json:"id"`
	Schema    string            `json:"schemaVersion"`
	Labels    map[string]string `json:"labels"`
	Content   content           `json:"content"`
	Condition string            `json:"targetCondition"`
	Created   time.Time         `json:"createdTimeUtc"`
	Updated   time.Time         `json:"lastUpdatedTimeUtc"`
	Priority  int               `json:"priority"`
	System    metrics           `json:"systemMetrics"`
	Metrics   metrics           `json:"metrics"`
	ETag      string            `json:"etag"`

	condition *query.Query
	revision  uint64
}

// content is values by path, as in properties.desired.a.b.
type content struct {
	Device  map[string]any `json:"deviceContent,omitempty"`
	Module  map[string]any `json:"moduleContent,omitempty"`
	Modules map[string]any `json:"modulesContent,omitempty"`
}

// metrics are counts of what queries find.
type metrics struct {
	Results map[string]int    `json:"results"`
	Queries map[string]string `json:"queries"`
}

const desiredPrefix = "properties.desired."

// check says what is wrong with a content, and drops nulls, which mean nothing in it.
func (c content) check() error {
	if len(c.Module)+len(c.Modules) > 0 {
		return twin.ArgumentInvalid.With("this hub has configurations for devices only: deviceContent")
	}
	seen := map[string]any{}
	for path := range c.Device {
		names, ok := strings.CutPrefix(path, desiredPrefix)
		if !ok || slices.Contains(strings.Split(names, "."), "") {
			return twin.ArgumentInvalid.With("%.200q is no path such as %sa.b", path, desiredPrefix)
		}
		if clashes(path, seen) {
			return twin.ArgumentInvalid.With("%.200q is within another path", path)
		}
		seen[path] = nil
	}
	set, _, err := twin.New("", time.Time{}).Twin.Apply(twin.Patch{Desired: c.patch()}, time.Time{})
	for path := range c.Device {
		c.Device[path] = at(set.Desired.Values, path)
	}
	return err
}

// patch is the content as a patch of desired properties.
func (c content) patch() map[string]any {
	patch := map[string]any{}
	for _, path := range slices.Sorted(maps.Keys(c.Device)) {
		setAt(patch, path, c.Device[path])
	}
	return patch
}

// setAt sets what is at a path of desired properties.
func setAt(object map[string]any, path string, value any) {
	names := strings.Split(strings.TrimPrefix(path, desiredPrefix), ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := object[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			object[name] = inner
		}
		object = inner
	}
	object[names[len(names)-1]] = value
}

// at is what is at a path of desired properties, nil if nothing is.
func at(object map[string]any, path string) any {
	var value any = object
	for name := range strings.SplitSeq(strings.TrimPrefix(path, desiredPrefix), ".") {
		inner, _ := value.(map[string]any)
		value = inner[name]
	}
	return value
}

var configurationID = regexp.MustCompile(`^[a-z0-9\-+%_*!']{1,128}$`)

// decodeNumbers reads JSON whose numbers stay as they are written.
func decodeNumbers(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// readConfiguration reads and checks one.
func readConfiguration(id string, text []byte) (configuration, error) {
	var c configuration
	if err := decodeNumbers(text, &c); err != nil {
		return c, twin.Malformed.With("not a configuration: %v", err)
	}
	c.Schema, c.System = cmp.Or(c.Schema, "1.0"), metrics{}
	var err error
	c.condition, err = query.ParseCondition(c.Condition)
	switch {
	case !configurationID.MatchString(id) || cmp.Or(c.ID, id) != id:
		return c, twin.ArgumentInvalid.With("id is not that of the path, or has other characters than a-z 0-9 - + %% _ * ! '")
	case err != nil:
		return c, twin.ArgumentInvalid.With("targetCondition: %v", err)
	case c.Priority < 0:
		return c, twin.ArgumentInvalid.With("priority must be 0 or more")
	case len(c.Metrics.Queries) > maxMetrics:
		return c, twin.ArgumentInvalid.With("there are %d metrics, %d are allowed", len(c.Metrics.Queries), maxMetrics)
	}
	for name, text := range c.Metrics.Queries {
		if _, err := query.Parse(text); err != nil {
			return c, twin.ArgumentInvalid.With("metric %.80q: %v", name, err)
		}
	}
	c.ID = id
	return c, c.Content.check()
}

// putConfiguration creates a configuration, or with If-Match changes its labels, condition, priority and metrics. What it
// sets stays, as in Azure: devices would not know what they are at.
func (h *Hub) putConfiguration(w http.ResponseWriter, r *http.Request, _ right) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	c, err := readConfiguration(r.PathValue("configuration"), text)
	if err != nil {
		return err
	}
	c.Created = time.Now().UTC()
	if wanted := ifMatch(r); wanted != "" {
		old, err := h.configuration(r.Context(), c.ID)
		if err == nil {
			err = matchETag(wanted, old.ETag)
		}
		if err != nil {
			return err
		}
		c.Created, c.revision, c.Content = old.Created, old.revision, old.Content
	} else if all, err := h.configurations(r.Context()); err != nil || len(all) >= maxConfigurations {
		return cmp.Or(err, error(twin.Throttled.With("there are %d configurations, no more are allowed", maxConfigurations)))
	}
	c.Updated = time.Now().UTC()
	if text, err = json.Marshal(c); err != nil {
		return err
	}
	c.revision, err = h.store.Put(r.Context(), "configurations", twin.Document{Name: c.ID, Text: text, Revision: c.revision})
	if errors.Is(err, twin.PreconditionFailed) && ifMatch(r) == "" {
		return twin.ConfigurationExists
	}
	if err != nil {
		return err
	}
	h.log.Info("configuration is set", "configuration", c.ID, "condition", c.Condition, "priority", c.Priority)
	return h.writeConfiguration(w, r, c)
}

func (h *Hub) getConfiguration(w http.ResponseWriter, r *http.Request, _ right) error {
	c, err := h.configuration(r.Context(), r.PathValue("configuration"))
	if err != nil {
		return err
	}
	return h.writeConfiguration(w, r, c)
}

func (h *Hub) writeConfiguration(w http.ResponseWriter, r *http.Request, c configuration) error {
	c, err := h.measured(r.Context(), c)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", `"`+c.ETag+`"`)
	return writeJSON(w, http.StatusOK, c)
}

// measured adds what the metrics count.
func (h *Hub) measured(ctx context.Context, c configuration) (configuration, error) {
	c.ETag = etagOf(c.revision)
	condition := ""
	if strings.TrimSpace(c.Condition) != "*" {
		condition = " WHERE " + c.Condition
	}
	c.System.Queries = map[string]string{
		"targetedCount": "SELECT deviceId FROM devices" + condition,
		"appliedCount":  fmt.Sprintf("SELECT deviceId FROM devices WHERE configurations.[[%s]].status = 'Applied'", c.ID),
	}
	for _, m := range []*metrics{&c.System, &c.Metrics} {
		m.Results = map[string]int{}
		for name, text := range m.Queries {
			q, err := parseQuery(text)
			if err != nil {
				return c, err
			}
			if m.Results[name], err = h.count(ctx, q); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

func etagOf(revision uint64) string { return strconv.FormatUint(revision, 10) }

func (h *Hub) deleteConfiguration(w http.ResponseWriter, r *http.Request, _ right) error {
	c, err := h.configuration(r.Context(), r.PathValue("configuration"))
	if err == nil {
		err = matchETag(ifMatch(r), etagOf(c.revision))
	}
	if err == nil {
		err = h.store.Remove(r.Context(), "configurations", twin.Document{Name: c.ID, Revision: c.revision})
	}
	if err != nil {
		return err
	}
	h.log.Info("configuration is deleted", "configuration", c.ID)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Hub) listConfigurations(w http.ResponseWriter, r *http.Request, _ right) error {
	all, err := h.configurations(r.Context())
	if err != nil {
		return err
	}
	if top, err := strconv.Atoi(r.URL.Query().Get("top")); err == nil && top > 0 {
		all = all[:min(top, len(all))]
	}
	for i := range all {
		if all[i], err = h.measured(r.Context(), all[i]); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, all)
}

// testQueries says what is wrong with a condition and with metrics, before they are used.
func (h *Hub) testQueries(w http.ResponseWriter, r *http.Request, _ right) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var asked struct {
		TargetCondition     string
		CustomMetricQueries map[string]string
	}
	if err := json.Unmarshal(text, &asked); err != nil {
		return twin.Malformed.With("not a list of queries: %v", err)
	}
	answer := struct {
		Condition string            `json:"targetConditionError"`
		Metrics   map[string]string `json:"customMetricQueryErrors"`
	}{Metrics: map[string]string{}}
	if _, err := query.ParseCondition(asked.TargetCondition); err != nil {
		answer.Condition = err.Error()
	}
	for name, text := range asked.CustomMetricQueries {
		if _, err := query.Parse(text); err != nil {
			answer.Metrics[name] = err.Error()
		}
	}
	return writeJSON(w, http.StatusOK, answer)
}

// applyContent sets desired properties of one device, once.
func (h *Hub) applyContent(w http.ResponseWriter, r *http.Request, _ right) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var c content
	if err := decodeNumbers(text, &c); err != nil {
		return twin.Malformed.With("not a content: %v", err)
	}
	if err := c.check(); err != nil {
		return err
	}
	_, err = h.patchTwin(r.Context(), identity(r), func(twin.Device) (twin.Patch, error) { return twin.Patch{Desired: c.patch()}, nil })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// configuration reads one.
func (h *Hub) configuration(ctx context.Context, id string) (configuration, error) {
	d, ok, err := h.store.Document(ctx, "configurations", id)
	if err == nil && !ok {
		err = twin.NoConfiguration
	}
	if err != nil {
		return configuration{}, err
	}
	return decodeConfiguration(d)
}

func decodeConfiguration(d twin.Document) (c configuration, err error) {
	if err := decodeNumbers(d.Text, &c); err != nil {
		return c, fmt.Errorf("configuration %s is damaged: %w", d.Name, err)
	}
	c.revision, c.ETag = d.Revision, etagOf(d.Revision)
	c.condition, err = query.ParseCondition(c.Condition)
	return c, err
}

// configurations are all, that which wins first.
func (h *Hub) configurations(ctx context.Context) ([]configuration, error) {
	all := []configuration{}
	for d, err := range h.store.Documents(ctx, "configurations", "") {
		if err != nil {
			return nil, err
		}
		c, err := decodeConfiguration(d)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b configuration) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}
