package lwm2m

import (
	"encoding/json"
	"errors"
)

// EncodePaths writes a list of paths without values, the payload of
// Read-Composite and Observe-Composite (OMA LwM2M 1.1 section 6.3.3), in SenML
// JSON or SenML CBOR. The paths may be of any depth but the root.
func EncodePaths(f Format, paths []Path) ([]byte, error) {
	switch f {
	case FormatSenMLJSON:
		entries := make([]jsonEntry, len(paths))
		for i, p := range paths {
			entries[i].Name = p.String()
		}
		return json.Marshal(entries)
	case FormatSenMLCBOR:
		entries := make([]cborEntry, len(paths))
		for i, p := range paths {
			entries[i].Name = p.String()
		}
		return cborEncoding.Marshal(entries)
	}
	return nil, Errorf(CodeNotAcceptable, "%v cannot hold paths without values", f)
}

// DecodePaths reads what [EncodePaths] writes. The error is an [*Error] of code
// 4.00, or 4.15 for another format.
func DecodePaths(f Format, payload []byte) ([]Path, error) {
	var entries []senmlEntry
	var err error
	switch f {
	case FormatSenMLJSON:
		entries, err = parseSenMLJSON(payload)
	case FormatSenMLCBOR:
		entries, err = parseSenMLCBOR(payload)
	default:
		return nil, Errorf(CodeUnsupportedFormat, "%v cannot hold paths without values", f)
	}
	if err != nil {
		return nil, Errorf(CodeBadRequest, "cannot decode %v: %v", f, err)
	}
	paths, err := senmlPaths(entries)
	if err != nil {
		return nil, Errorf(CodeBadRequest, "cannot decode %v: %v", f, err)
	}
	return paths, nil
}

func senmlPaths(entries []senmlEntry) ([]Path, error) {
	var baseName string
	paths := make([]Path, 0, len(entries))
	for _, e := range entries {
		if e.baseName != "" {
			baseName = e.baseName
		}
		if e.value.Kind() != KindNone {
			return nil, errors.New("an entry has a value")
		}
		p, err := ParsePath(baseName + e.name)
		if err != nil {
			return nil, err
		}
		if p.Depth() == DepthRoot {
			return nil, errors.New("an entry has no name")
		}
		paths = append(paths, p)
	}
	return paths, nil
}
