package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// maxList is how many devices one page has.
const maxList = 1000

// DeviceList is a page of devices.
type DeviceList struct {
	Devices []fleet.Device `json:"devices"`
	Total   int            `json:"total"`          // that the query is about
	Next    string         `json:"next,omitempty"` // after, for the next page; "" if there is none
}

func listDevices(a *API, r *http.Request) (DeviceList, error) {
	limit, err := number(r, "limit", maxList)
	if err != nil {
		return DeviceList{}, err
	}
	devices, err := a.Fleet.Find(r.Context(), r.FormValue("q"))
	if err != nil {
		return DeviceList{}, err
	}
	page := DeviceList{Total: len(devices)}
	from, found := slices.BinarySearchFunc(devices, r.FormValue("after"), func(d fleet.Device, id string) int { return strings.Compare(d.ID, id) })
	if found {
		from++
	}
	end := min(len(devices), from+min(limit, maxList))
	if page.Devices = devices[from:end]; end < len(devices) && end > from {
		page.Next = devices[end-1].ID
	}
	return page, nil
}

// number is a number of the query, at least 1.
func number(r *http.Request, name string, otherwise int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, twin.ArgumentInvalid.With("%s=%.40q is no number above 0", name, text)
	}
	return n, nil
}

// NewDevice is a device to be.
type NewDevice struct {
	ID   string         `json:"id"` // 1 to 128 of letters, digits and - . + % _ # * ? ! ( ) , : = @ $ '
	Tags map[string]any `json:"tags,omitempty"`
}

func createDevice(a *API, r *http.Request, d NewDevice) (fleet.Device, error) {
	return a.Fleet.Create(r.Context(), d.ID, d.Tags)
}

func showDevice(a *API, r *http.Request) (fleet.Device, error) {
	return a.Fleet.Device(r.Context(), r.PathValue("id"))
}

// Admission says whether a device may connect.
type Admission struct {
	Enabled bool `json:"enabled"`
}

func enableDevice(a *API, r *http.Request, in Admission) (fleet.Device, error) {
	if err := a.Fleet.Enable(r.Context(), r.PathValue("id"), in.Enabled); err != nil {
		return fleet.Device{}, err
	}
	return showDevice(a, r)
}

func deleteDevice(a *API, r *http.Request) (nothing, error) {
	return nothing{}, a.Fleet.Delete(r.Context(), r.PathValue("id"))
}

func showKeys(a *API, r *http.Request) (fleet.Keys, error) {
	return a.Fleet.Keys(r.Context(), r.PathValue("id"))
}

func newKeys(a *API, r *http.Request) (fleet.Keys, error) {
	return a.Fleet.NewKeys(r.Context(), r.PathValue("id"))
}

// Twin is the document of a device.
type Twin struct {
	Device   string         `json:"device"`
	ETag     string         `json:"etag"` // of tags and desired
	Version  int64          `json:"version"`
	Tags     map[string]any `json:"tags"`
	Desired  map[string]any `json:"desired"`
	Reported map[string]any `json:"reported"`
}

// showTwin also has the etag as a header.
var showTwin = func() operation {
	o := get(readTwin)
	o.serve = func(a *API, w http.ResponseWriter, r *http.Request) error {
		t, err := readTwin(a, r)
		if err != nil {
			return err
		}
		w.Header().Set("ETag", `"`+t.ETag+`"`)
		return write(w, t)
	}
	return o
}()

func readTwin(a *API, r *http.Request) (Twin, error) {
	d, err := a.Fleet.Devices.Device(r.Context(), r.PathValue("id"))
	return Twin{d.ID, d.Twin.ETag(), d.Twin.Version, orEmpty(d.Twin.Tags), orEmpty(d.Twin.Desired.Values), orEmpty(d.Twin.Reported.Values)}, err
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

func patchTwin(a *API, r *http.Request, p fleet.Patch) (Twin, error) {
	if err := a.Fleet.Patch(r.Context(), r.PathValue("id"), p, etag(r)); err != nil {
		return Twin{}, err
	}
	return readTwin(a, r)
}

// Method is what a device shall do now.
type Method struct {
	Name            string          `json:"name"` // "read", "write", "execute", "observe", "discover", …: backend/README.md
	Payload         json.RawMessage `json:"payload,omitempty"`
	ConnectTimeout  int             `json:"connectTimeout,omitempty"`  // seconds to wait for a device that is away, at most 300
	ResponseTimeout int             `json:"responseTimeout,omitempty"` // seconds, 5 to 300; 0 is 30
}

// callMethod may take as long as its caller says.
var callMethod = func() operation {
	o := take(methodOf)
	serve := o.serve
	o.serve = func(a *API, w http.ResponseWriter, r *http.Request) error {
		lasts(w, maxCall)
		return serve(a, w, r)
	}
	return o
}()

// maxCall is the longest that a device can be waited for, and then its answer.
const maxCall = 600 * time.Second

func methodOf(a *API, r *http.Request, m Method) (*iothub.MethodAnswer, error) {
	call := iothub.Method{Name: m.Name, ConnectTimeout: time.Duration(m.ConnectTimeout) * time.Second, ResponseTimeout: time.Duration(m.ResponseTimeout) * time.Second}
	if len(m.Payload) > 0 {
		call.Payload = m.Payload
	}
	return a.Fleet.Call(r.Context(), r.PathValue("id"), call)
}

func history(a *API, r *http.Request) (twin.History, error) {
	return a.Fleet.Devices.History(r.Context(), r.PathValue("id"))
}

// Readings are what devices measure.
type Readings struct {
	Readings []fleet.Reading `json:"readings"`
}

func listReadings(a *API, r *http.Request) (Readings, error) {
	readings, err := a.Fleet.Readings(r.Context(), r.PathValue("id"))
	return Readings{readings}, err
}

func listSubstitutes(a *API, r *http.Request) (Readings, error) {
	object, err := strconv.ParseUint(r.FormValue("object"), 10, 16)
	if err != nil {
		return Readings{}, twin.ArgumentInvalid.With("object=%.40q is no number of an object, such as 3303", r.FormValue("object"))
	}
	tags := strings.FieldsFunc(r.FormValue("tag"), func(c rune) bool { return c == ',' })
	readings, err := a.Fleet.Substitutes(r.Context(), r.PathValue("id"), uint16(object), tags)
	return Readings{readings}, err
}

// followEvents is what the hub tells applications.
var followEvents = operation{outMedia: "text/event-stream", serve: func(a *API, w http.ResponseWriter, r *http.Request) error {
	return a.follow(w, r, a.Hub(policyService))
}}
