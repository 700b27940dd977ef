package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

type resourcesPage struct {
	ID        string
	State     string
	Instances []instance
	Path      string
	Call      string // what was asked for last
	Status    int
	Answer    string
	Problem   string
}

// An instance of an object of a device.
type instance struct {
	Path, Name string
	Resources  []resource
	Reading    *fleet.Reading  // what it measures, if it does
	Elsewhere  []fleet.Reading // what others measure live, while this is masked
}

// maxElsewhere is how many other devices are shown.
const maxElsewhere = 8

type resource struct {
	Path, Name, Value, Unit, Error, At string

	number int
}

func (w *Web) showResources(v *visit) error {
	page, err := w.resourcesPage(v)
	if err != nil {
		return err
	}
	page.Path = v.FormValue("path")
	return v.show("resources", v.id()+": resources", page)
}

func (w *Web) resourcesPage(v *visit) (*resourcesPage, error) {
	d, err := w.Fleet.Devices.Device(v.Context(), v.id())
	if err != nil {
		return nil, err
	}
	tree, _ := d.Twin.Reported.Values["lwm2m"].(map[string]any)
	page := &resourcesPage{ID: d.ID, State: fleet.Overview(d, time.Now()).State, Instances: instances(tree)}
	return page, w.addReadings(v, page)
}

// addReadings says of what is measured whether it is live, and who else measures it if not.
func (w *Web) addReadings(v *visit, page *resourcesPage) error {
	readings, err := w.Fleet.Readings(v.Context(), v.id())
	if err != nil {
		return err
	}
	for _, r := range readings {
		at := slices.IndexFunc(page.Instances, func(i instance) bool { return i.Path == r.Path })
		if at < 0 {
			continue
		}
		i := &page.Instances[at]
		if i.Reading = &r; r.Masking.State == "live" {
			continue
		}
		object, err := strconv.ParseUint(strings.Split(r.Path, "/")[1], 10, 16)
		if err != nil {
			continue
		}
		if i.Elsewhere, err = w.Fleet.Substitutes(v.Context(), v.id(), uint16(object), nil); err != nil {
			return err
		}
		i.Elsewhere = i.Elsewhere[:min(len(i.Elsewhere), maxElsewhere)]
	}
	return nil
}

// instances are the objects of a device as its twin has them, by path.
func instances(tree map[string]any) (all []instance) {
	for object, of := range tree {
		inner, _ := of.(map[string]any)
		definition := definitionOf(object)
		for number, of := range inner {
			resources, ok := of.(map[string]any)
			if !ok {
				continue
			}
			i := instance{Path: "/" + object + "/" + number, Name: definition.Name}
			for id, of := range resources {
				i.Resources = append(i.Resources, resourceOf(definition, i.Path, id, of))
			}
			slices.SortFunc(i.Resources, func(a, b resource) int { return cmp.Compare(a.number, b.number) })
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b instance) int { return comparePaths(a.Path, b.Path) })
	return all
}

func comparePaths(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "/"), strings.Split(b, "/"), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) // they are numbers
	})
}

var model = func() map[uint16]lwm2m.Definition {
	known := map[uint16]lwm2m.Definition{}
	for _, d := range []lwm2m.Definition{objects.Device, objects.Server, objects.Firmware, objects.SoftwareManagement, objects.Connectivity} {
		known[d.ID] = d
	}
	return known
}()

// definitionOf is what is known of an object; of others that of sensors, if it is one of IPSO's.
func definitionOf(object string) lwm2m.Definition {
	id, err := strconv.ParseUint(object, 10, 16)
	if err != nil {
		return lwm2m.Definition{}
	}
	if d, known := model[uint16(id)]; known {
		return d
	}
	if id >= 3200 && id < 3400 {
		return objects.SensorDefinition(uint16(id))
	}
	return lwm2m.Definition{}
}

func resourceOf(definition lwm2m.Definition, instance, id string, of any) resource {
	r := resource{Path: instance + "/" + id}
	r.number, _ = strconv.Atoi(id)
	known, _ := definition.Resource(uint16(r.number))
	r.Name, r.Unit = known.Name, known.Units
	fields, ok := of.(map[string]any)
	if !ok {
		r.Value = fmt.Sprint(of)
		return r
	}
	if value, there := fields["value"]; there {
		text, _ := json.Marshal(value)
		r.Value = string(text)
		if s, isText := value.(string); isText {
			r.Value = s
		}
	}
	r.Error, _ = fields["err"].(string)
	r.At, _ = fields["ts"].(string)
	return r
}

// callTime is how long a page waits for a device.
const callTime = 20 * time.Second

// operations are the direct methods that the page offers.
var operations = []string{"read", "write", "execute", "observe", "cancel-observe", "discover"}

// callResource has the device do something with a resource, and shows its answer.
func (w *Web) callResource(v *visit) error {
	operation, path := v.PostFormValue("operation"), strings.TrimSpace(v.PostFormValue("path"))
	if !slices.Contains(operations, operation) {
		return twin.ArgumentInvalid.With("there is no operation %.40q", operation)
	}
	payload := map[string]any{"path": path}
	value := v.PostFormValue("value")
	switch operation {
	case "write":
		payload["value"] = valueOf(value)
	case "execute":
		if value != "" {
			payload["arguments"] = value
		}
	}
	answer, err := w.Fleet.Call(v.Context(), v.id(), iothub.Method{Name: operation, Payload: payload, ResponseTimeout: callTime})
	page, e := w.resourcesPage(v)
	if e != nil {
		return e
	}
	page.Path, page.Call = path, operation+" "+path
	if err != nil {
		v.status, page.Problem = fleet.Refusal(err)
		return v.show("resources", v.id()+": resources", page)
	}
	page.Status = answer.Status
	if page.Answer, e = pretty(answer.Payload); e != nil {
		return e
	}
	return v.show("resources", v.id()+": resources", page)
}

// valueOf is JSON where it is, else text.
func valueOf(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}
