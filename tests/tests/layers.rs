use xcomp_tests::imports::Imports;
#[test]
fn dump() {
    for name in ["xcomp-data", "xcomp-model", "xcomp-train"] {
        let src =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let imports = Imports::of_crate(&src);
        for (from, to) in imports.edges() {
            println!("{name} {} {}", from.join("/"), to.join("/"));
        }
    }
}
