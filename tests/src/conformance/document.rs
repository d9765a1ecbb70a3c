//! The discovery document, and what it says of values as a flat list of shapes.
//!
//! Pure. What it does not understand in a document is an error, not something to let pass.

use super::Definition;
use super::calls::Method;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// `Required.` and yet not: a job that comes without an ID is given one, and a dry run needs none
/// (<https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid>). That our jobs have theirs is what the crash
/// loop is about, not this.
const GIVEN: (&str, &str) = ("JobReference", "jobId");

/// The number of a shape.
pub(super) type Id = usize;

/// All shapes, by number.
#[derive(Debug, Default)]
pub(super) struct Shapes(Vec<Shape>);

impl Shapes {
    pub(super) fn of(&self, id: Id) -> &Shape {
        self.0.get(id).unwrap_or(&Shape::Anything)
    }

    fn add(&mut self, shape: Shape) -> Id {
        self.0.push(shape);
        self.0.len() - 1
    }
}

/// What a value may be.
#[derive(Debug)]
pub(super) enum Shape {
    Anything,
    Flag,
    Number,
    /// An integer between these.
    Whole(i64, i64),
    /// A string of this format, or one of these.
    Text(Format),
    OneOf(Vec<String>),
    List(Id),
    Map(Id),
    Record(HashMap<String, Field>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Free,
    Int64,
    Uint64,
    Time,
    Duration,
    Base64,
    /// Names of fields with commas between them.
    Fields,
    /// `^[^/]+$`
    NoSlash,
    /// `.?`
    AtMostOne,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) shape: Id,
    /// Nothing that a caller says.
    pub(super) output: bool,
    pub(super) required: bool,
}

/// Query parameters by name: of which shape, and whether they may be repeated.
pub(super) type Parameters = HashMap<String, Parameter>;

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) shape: Id,
    pub(super) repeated: bool,
    pub(super) required: bool,
}

// ---- as it is written ----

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    revision: String,
    service_path: String,
    schemas: BTreeMap<String, Schema>,
    parameters: BTreeMap<String, Schema>,
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    methods: BTreeMap<String, Described>,
    #[serde(default)]
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    id: String,
    http_method: String,
    flat_path: String,
    #[serde(default)]
    parameters: BTreeMap<String, Schema>,
    request: Option<Reference>,
    response: Option<Reference>,
    media_upload: Option<Upload>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "$ref")]
    name: String,
}

#[derive(Deserialize)]
struct Upload {
    protocols: BTreeMap<String, UploadPath>,
}

#[derive(Deserialize)]
struct UploadPath {
    path: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Schema {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    format: Option<String>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    pattern: Option<String>,
    properties: Option<BTreeMap<String, Schema>>,
    items: Option<Box<Schema>>,
    additional_properties: Option<Box<Schema>>,
    description: String,
    read_only: bool,
    location: Option<String>,
    required: bool,
    repeated: bool,
}

// ---- as it is used ----

impl Definition {
    /// Compiles a discovery document.
    ///
    /// # Errors
    /// It is not one, or it says something that is not understood.
    pub fn of(document: &str) -> Result<Definition, String> {
        let document: Document = serde_json::from_str(document).map_err(|e| e.to_string())?;
        let mut compiling = Compiling::default();
        // All the names first: schemas speak of one another.
        for name in document.schemas.keys() {
            let id = compiling.shapes.add(Shape::Anything);
            compiling.named.insert(name.clone(), id);
        }
        for (name, schema) in &document.schemas {
            let mut shape = compiling.shape(schema).map_err(|why| format!("{name}: {why}"))?;
            if let (Shape::Record(fields), true) = (&mut shape, name == GIVEN.0) {
                let given = fields.get_mut(GIVEN.1).ok_or("a job's ID has another name")?;
                given.required = false;
            }
            let id = compiling.reference(name)?;
            if let Some(place) = compiling.shapes.0.get_mut(id) {
                *place = shape;
            }
        }
        let everywhere = compiling.parameters(&document.parameters)?;
        let mut methods = Vec::new();
        let mut resources: Vec<&Resource> = document.resources.values().collect();
        while let Some(resource) = resources.pop() {
            resources.extend(resource.resources.values());
            for described in resource.methods.values() {
                let method = compiling.method(&document.service_path, described);
                methods.push(method.map_err(|why| format!("{}: {why}", described.id))?);
            }
        }
        if methods.is_empty() {
            return Err("it names no methods".to_owned());
        }
        Ok(Definition {
            revision: document.revision,
            shapes: compiling.shapes,
            methods,
            everywhere,
        })
    }
}

#[derive(Default)]
struct Compiling {
    shapes: Shapes,
    named: HashMap<String, Id>,
}

impl Compiling {
    fn method(&mut self, service: &str, described: &Described) -> Result<Method, String> {
        let mut paths = vec![Method::template(&format!("/{service}{}", described.flat_path))];
        if let Some(upload) = &described.media_upload {
            paths.extend(upload.protocols.values().map(|way| Method::template(&way.path)));
        }
        let reference = |reference: &Option<Reference>| reference.as_ref().map(|r| self.reference(&r.name)).transpose();
        let (request, response) = (reference(&described.request)?, reference(&described.response)?);
        for (name, parameter) in &described.parameters {
            // Segments of a path are never empty and hold no slash; what more is said of them is the flat path itself.
            let pattern = parameter.pattern.as_deref();
            let known = pattern.is_none_or(|p| p == "^[^/]+$" || p.starts_with("^projects/[^/]+/"));
            if parameter.location.as_deref() == Some("path") && !known {
                return Err(format!("{name}: the pattern {pattern:?}"));
            }
        }
        Ok(Method {
            id: described.id.clone(),
            verb: described.http_method.clone(),
            paths,
            query: self.parameters(&described.parameters)?,
            request,
            response,
        })
    }

    fn parameters(&mut self, described: &BTreeMap<String, Schema>) -> Result<Parameters, String> {
        let query = described
            .iter()
            .filter(|(_, schema)| schema.location.as_deref() == Some("query"));
        query
            .map(|(name, schema)| {
                let parameter = Parameter {
                    shape: self.id(schema).map_err(|why| format!("{name}: {why}"))?,
                    repeated: schema.repeated,
                    required: schema.required,
                };
                Ok((name.clone(), parameter))
            })
            .collect()
    }

    fn reference(&self, name: &str) -> Result<Id, String> {
        self.named
            .get(name)
            .copied()
            .ok_or_else(|| format!("no schema `{name}`"))
    }

    fn id(&mut self, schema: &Schema) -> Result<Id, String> {
        if let Some(name) = &schema.reference {
            return self.reference(name);
        }
        let shape = self.shape(schema)?;
        Ok(self.shapes.add(shape))
    }

    fn shape(&mut self, schema: &Schema) -> Result<Shape, String> {
        let format = schema.format.as_deref();
        Ok(match (schema.kind.as_deref(), format) {
            (Some("any"), None) => Shape::Anything,
            (Some("boolean"), None) => Shape::Flag,
            (Some("number"), Some("double" | "float")) => Shape::Number,
            (Some("integer"), Some("int32")) => Shape::Whole(i32::MIN.into(), i32::MAX.into()),
            (Some("integer"), Some("uint32")) => Shape::Whole(0, u32::MAX.into()),
            (Some("string"), _) => match &schema.values {
                Some(values) => Shape::OneOf(values.clone()),
                None => Shape::Text(text(format, schema.pattern.as_deref())?),
            },
            (Some("array"), None) => {
                let items = schema.items.as_ref().ok_or("an array of nothing")?;
                Shape::List(self.id(items)?)
            }
            (Some("object"), None) => self.object(schema)?,
            (kind, format) => return Err(format!("type {kind:?}, format {format:?}")),
        })
    }

    fn object(&mut self, schema: &Schema) -> Result<Shape, String> {
        match (&schema.properties, &schema.additional_properties) {
            (None, Some(values)) => Ok(Shape::Map(self.id(values)?)),
            (Some(_), Some(_)) => Err("an object with fields and others besides".to_owned()),
            (properties, None) => {
                let fields = properties.iter().flatten();
                let fields = fields.map(|(name, schema)| {
                    let field = Field {
                        shape: self.id(schema).map_err(|why| format!("{name}: {why}"))?,
                        output: schema.read_only || is_output(&schema.description),
                        required: schema.description.starts_with("Required."),
                    };
                    Ok((name.clone(), field))
                });
                fields.collect::<Result<_, String>>().map(Shape::Record)
            }
        }
    }
}

fn is_output(description: &str) -> bool {
    let rest = description.strip_prefix("Optional. ").unwrap_or(description);
    rest.starts_with("Output only")
}

fn text(format: Option<&str>, pattern: Option<&str>) -> Result<Format, String> {
    Ok(match (format, pattern) {
        (None, None) => Format::Free,
        (Some("int64"), None) => Format::Int64,
        (Some("uint64"), None) => Format::Uint64,
        (Some("google-datetime" | "date-time"), None) => Format::Time,
        (Some("google-duration"), None) => Format::Duration,
        (Some("byte"), None) => Format::Base64,
        (Some("google-fieldmask"), None) => Format::Fields,
        (None, Some("^[^/]+$")) => Format::NoSlash,
        (None, Some(".?")) => Format::AtMostOne,
        (format, pattern) => return Err(format!("a string of format {format:?}, pattern {pattern:?}")),
    })
}
