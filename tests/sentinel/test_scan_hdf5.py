"""HDF5 files as h5py 3.16 writes them, for the oldest and the latest readers, small and compressed here."""

import base64
import zlib

import pytest
from tests.sentinel.scanning import found

FILES = {
    "plain earliest": (
        "c-rlmOD_Xa6vxk<X&LpJB57-5?CeBrx+Ge<5CjV=+Av!2O0-dlh1%6Ov7C?LBUtiDm^*Xs=v*4FM1ucsb8;SY&g9-R_a<j<N`=M2)Od;{mPHA&sgozhn~Cen"
        "UuG#-wprd9%5Da}EZc3)Z;yw1jqRK3#iERU(ol6ClInTzA1M{**QDHH-C=oW#N(<g>nx|M@&3$zvTnEj^>Xq4f3JV@RwylOCHlAH9BU`zaZT+!Eq$}@#>#3z"
        "kP-ErV`}+XuW9G2>R<JFW&ip93F-;gOej5E5g|fDg5#7leZTaioe8!%l(8st#r~wfBhqh}Mv$Q2_lqE($}jzb_T2rWO2duvT3pvOj8@-E$;8W>mVabD!oCtw"
        "UrqJm8~+OO-Vkrx8zWufy>wjH`wjpA004iFi|ySqUH4o%k5m|<z9rGZng9R*0Dqk{Pw4cy-2lx6QqW*9BWk(_)mmfcq;l*AqwrBdJYNzVM={yd^6UR`26z%F"
        "Xo$xA3Wx4lrM`3Sp4AUdPkejM&nus_qny^OI^JZwCIA2c06xaj!s>Exf7<lsJwB_&-w$KW0000000000fZxV5;n8|s"
    ),
    "attr earliest": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf7$ng6P>=wn8KHCslwQFE6K4j?LA3)-hnTOx4B=-$#Y2KzU6IX4w`UZLY~bPQ7yzOppnMJ}eS!&99V{INP|03FXnI9Y"
        "*E|d!Q2TfpM1Zcz%}+_qiBHbYOUq0LiAypvf^`bO-Nb?7zO6`}U>uF!Q7{Td!2kevXMZ0?253QrUOoXqwNi3UVsUYNUSe*ll9hr|aB5*`YF<fZVvdrIf)b>>"
        "1BzEG<s??778L`T(db%y5_6MM648{yBr8DTX{C9|C7JnoAl*tP<&M~ZEiQ4O0ePi4IS?|owibwx{HMV`8poqx6pVsVFbYP&C>RB!U=)mkQ7{Td0RZQlX;l"
    ),
    "fixed earliest": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf6j)ICF!=;1%?PDCp!5nRm^d?7P68?}05xBM8C7FQkgF@Q`RMkHf{_h8Tpa^IbOe;o0i{ncp{j$W!vHGTD+o=m=;@k="
        ";Q`b>UZ7hz7;^JdQgh;y^YhX&(?R0GK!<Eaa!<8Va!z7#aeQ84ZmN=%f>Lm5VQFe!NoHb>l8%BBL?2MRS}7;7GPS4}$c#qU;**%0l#+<1941)-5>G45OD@UG"
        "&jaaJGAVb&25fPO0}aS4&B=j~v9+~81avn5FzaV3"
    ),
    "link earliest": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf3Yby(F!=;1%?PDCp!5nRm^ceqP68?}05x9$YF+?TJS51~71?}rdq%;?1|F`C;G_}(<#Ryk6HKV;VCgV`O7=3rQ!e(D"
        "$pv%?Ba(VHsCq^Y2gVA11_u4ql4SjY#Ny)e6b5~uH~?9DJ%R"
    ),
    "dense earliest": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvfgm_W;F!=;1%?PDCp!5nRm^ceqP68?}05$&vRNezB9unm0%D}(`Hy_;|1!f3s0p&}uLg*O`qhKTe4_C(kaC(C#v=gxO"
        "#|EL9;3*84h{0eM2eN)H1`c={g{4GdK(L>`3nK#?0|#1uV8UUF1P*lyXzEtrP`3e1-3}b;4xp*iz@g3nO`Qb}bq=FR3~Ri5;0Uh(H1!cU)Fq&)%fO+o08L#5"
        "4s{J^>N;?!n}DWn1`c%#=oFsC(1fTD^;oeX8s7+wZ;Zw_LF1dE@y*cq=4gBiG`=OedkoO{hA4bShQV3ixCIBhG8}-GPK<Gk42wXF9=XeBNi-+OBY=S&T#yQ2"
        "*8Xu&@53x&U_zszfR{+ySderwLd!=+1|e>kn4HHIbEgmw7Y0_4I*@RRh7c#r4wx-2Mc%A#!9Z0EF!wQ{wMG#31psrD0$k<*J49TH0hMNc!1&iG#K(<+Rfz4P"
        "9D^nU$npRaDH8^Ja2;Z>@4X2_Fqk>(LX;mvA(-iYqdtJ48qEB6{7MjmCz$!AbZtC?JeXNrbf}!670ldua7710ESTxo5YovY3T6t{F22WL0=7*(*5WNgI#_gh"
        ">zZE-{XnKL!<qFL?~WGA^vO{kE>7@91PFYw=I~|YU}P#bU;-8gV3r}2#SAPq5KKe3yb+vb3}>0ZS*CE78JuMfXIa2mmJpT$V+9WbLw-p{YLQ-sDTDrK6wwp_"
        "0MC5-`2"
    ),
    "denseattr earliest": (
        "c-rljPfG$p7>8$9t3i|uI#j1+P8~W}*&l)+Da(V9REHqKCS60=T`83c@m}AgFW`6RTh*+-E4n#zs#Cv*W#5^1=9!sg-^09@PEIqawG<2CoF!S7P4Y!BC)OwK"
        "C|VTXD1O*cK0O>;p?sFscM{~&ysL|1adQ3mKHz^-Di$hXyrw><_-Rkii|VlQOZzTSy~gW0&2qF~LbW-QIjV0So$YAqJP|*<O|xg|ye+e5>%48Vm(Y26vzOF)"
        "J7#ZA=k1!kd7Zas_7-&BzS-kruSEF_TUJ@WRd>B=trawy4`F`QvW69t9lLyLodKi48MOfb00000z+ZEAd|tL@+(`!%d!pvacDou#-xUXrxO5-8ZqR8;Pi#11"
        "bnjL9p77+W`_xv=o48Vz{(W7>rbmM>VZPA~YMo{)2yKynF3jRkmsbk}UC$f6Z~J}qOnl$^BK|P|000000002+4e!i#CI"
    ),
    "ext earliest": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvfHn5`dVe$!3nh{EOK<O1sFmXn(oCH){5NbZUx{x4OSCH!eXaHtU1`CAdU>F4>5qP*d27u@YC?A$ePcWgXOF>JI9u(Tk"
        "$iN0MixI|$q+~`$hyXNM!f9rp%NU{VV?;`^tUwyXXJTRk3$rt5fccEjJYs+&eZ$P<fZEH<2+J8PXetxv8V?d^;T(YG9R1XiWc`A~;^J~hj0F4nyMX)&^Pd9q"
        "XqqMm004BkI&A"
    ),
    "vds earliest": (
        "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf7$ng6P>=wn8KHCslwQFE6K4d=LA5goLd{247ZT*^3R3+a4Z!R%V1dva45MHq0uNWm01zDk<-=0x2_{r^WoYTqgF<^5"
        "8Q36ZF~azel+4Ho5r8I3IL!={2gwL3$V0^x7{oak#OtB*tiTiul4oLOVuYk;h)-CUVM!Zet`L+9;_Xl1$!1_^7!>gk?C0+S%F(cVsK7j$Hb=oI7^=YC+24l|"
        "sX)ajH(>(#B^jwjdKsn+DGba=!XUte#20|F8R6w2uq=G`YBx;n4F1tD9|fae6pVsVFbYP&C>RB!U=)mkQ7{VV4FCg!Hlh"
    ),
    "plain latest": (
        "c-rlhze~eV5XbLcV@ZFfvC=A{b<o8@rQlkz#RggoI67F1gj&Q3jo5;Nc61kK@n3Lv_CL_oRr^2aC3z34MeL|>9|-p@@4oLYci~-G<*h_?CK}RpP`pdbT;Q+D"
        "_qepZVO!-L0X<<32P&ch5Fi|<P{8KBl!YVY>xiy^mFAQQ+NjVl0Qw>buc|WAFv{KX>tOs6y6YIoe$Kinvldl`IrxRe+C$1Off8T_Kp>(f_mmA~0Mq$->E|J<"
        "L-vAJ6I5L&7K;Ot%B#?i&}Y3JAyCuM98RT1asz*q-0j+<U9zh20(~<is9<VH*J(8mPwVZ*vE#xddXoscgz7(%w!855Wcl)<Cr^@?+HvG`8gBi}>A0<vHcXR>"
        "#^gUJn<C`e)IZPLy|xFyFbu<tO>ggDANt|*{0o$m5UJp0rDWIqo7VVxTPs`mcEWRtyT~vM!!QiPFbu;m|BVkL5q4|"
    ),
    "attr latest": (
        "c-rgqaB<`1lHy|K;9!7(|4_gn0pS}!#T`34+5J6Sf|wX8n1qlO!T=W&10w^2s1O4SrW}tQ0|PSyFM|k3GB-aZH77nfKQApaok5b3kwE}x8VECjE#hEc0+L%H"
        "OfX=CI$;ri^lXMvFbYP&C>RB!U=&aW+@1Y>z?G{2YDK#hN>?i-=Oh*v$LA&HrYcz}C<Uh$mZs*FWG3b)=_n{cYH*-<wNg%EWol6|kQt4x#V0X0DJ2n2IZUzw"
        "B%W59mt2yWp9j*dWK!;k4cOum2O5x9nv(+|V{2=H2+4mM{G)L^3P!;w7zLwX6pVsVFbYP&C>RB!U=#oV_MvXx"
    ),
    "fixed latest": (
        "c-rgqaB<`1lHy|K;9!7(|4`t`2;mz*#W{Mu3;BDv1Tiu4GBODvtAqhACI+A$Q6UBvOgWzG3=GT+ybK&5$=v*u)SUR_{JgZxbOvFdo~=OBn1HxiDLE&xxHvv9"
        "F*jAoN<k?&wXifbuOu@uM@dIP38DcgUagdqSeaT>3}i;5Yw=0UO-e~bQx21?0EwrS<|UV8=I4QQE18r#Vgt6g#DNCnmFDC?$k^IiAY$DuaTfr|@@**"
    ),
    "link latest": ("c-rgqaB<`1lHy|K;9!7(|4^_Q$~S=0Q$xeL{XJZQm>4RUgpd`&02dPjBLf4Q7y|<%hXZ2;KLdk)YDuzwL1J-nc?yF*1A`p{g`jm()FS}%@Fn2"),
    "dense latest": (
        "c-rgqaB<`1lHy|K;9!7(|4{In6~Z@wiAM%)_4jZIVq)lF5&{Vvhe|{;LTD}~1`sQUfv%vKyXK8skVgOmJCMV~Ai#j(kvORP>Y+4H6)Ft{yhPf_f}|5-qymtB"
        "%?uOc{&y$dDa6Btffb~V8z_>Zagh;b2h0}3<#X8Gf`O_SVD4jNK&27(1u#?q?SRQ#gxVy<fJzsK1Wa}c@o{5d6=J(6$507!3PXU2lnH|-D0UbO_PsY@umv+`"
        "U5N5yhz2v=Z`21cq=K3Mj$a94Fa|Tfl&+0ukOwo1iw>1D<b#<z53cB7a0fFT8$vo6M8QnK+Qs)6TEMoc$6CB)2n35RZ(Z|?p&!T;W_WaJdlSPbpa*aZ4t9kn"
        "bVgvxS_EQTn!fUYn}>@NJj;SW(81f^895l4iVc_;^eezDLpaL_&N7CxOyDe2ILi#qGKaG);4Dihi@Dg)0KtUX;=owJ!@!VVl95`Zmto4FKN@*71pp8)Yas"
    ),
    "denseattr latest": (
        "c-rgqaB<`1lHy|K;9!7(|4_gn1K}G$#Xo;KcG2I%C5VZ!h>=MMStSf`F)=VQFo+5<urM&JV}$5(V1jD5VPqHu<bzAI84tMyc?2+kB8rJYfB_@EGN2)y1`BZ("
        "G#U!Hh_sOfNhc)kG(fZjOzf!cp_@)29xgx^0c{inilk`lV1n5Jv&HTD#U!_2pehEK`xqHeX@q?N3>82-U@|+Pwo5ah(l%d$*EogvxB=}I0;yC11px!Yd+`8e"
        "hByX<z#OmtrVLF;0&6l$Z5gbP1g6PP31v8iB=Gdqk6MN(kfC-Effp?E8yLipR4m@xu!q46$=V&==T9&!LsD^EQu__VJ0yXv6IT9TB4^|{nue(d+=7E$;R&4)"
        "n6hSo(~M3_iT-HdjDk@>Bye~3_W|b|0n{>iE0nHQO3q0vE{@Mj%uQ9YQcwy`Ei6sVE6GgEQPNRRO3u$q%S;D~S1aWtR;Cse1DVn2T6_|7lTs4Vl*1$|K;mho"
        "dC4W2`FSASN+#uw*nllAai9Ttr8zkeGPbrBh>-lJ!9N<uqhJ(_f>AIEM!_f;1*2dTjDk@x3PypOhl>+@s2&XJSmSw_8JHP(K!d-D1`Glm3=ELD0S5*qBy|Wi"
        "h8SuXG1M4gsA0lTV~nAO8AFW;h8h+OHKrJ9STWR?VW?rlP-Bjvh8;tV1%?_9xEfvt5s;eP{FKz3c*xiXgCrv(c&J4H9!lWBbI5oL2kIEiC>RB_1^{Fiyvh"
    ),
    "ext latest": (
        "c-rgqaB<`1lHy|K;9!7(|4{Iq5yCfsiZ9I(_4W5~31VWXU=l)B2m@S93_vYxJPbgJF=aE%JP!t{0jb{yjKNL-TEHm6z`(@F$jAbfgVD@942%K{AUA*j2Lmh6"
        "Rm@!M8bBRjQAURSP>*q-nGQ371L!+uMwqW)q6|F@g9;QM={V!z>KFiGOF+e-9%H!Ah^kgUwIo@;AhEc(JO#`L0AZaqbN"
    ),
    "vds latest": (
        "c-rgqaB<`1lHy|K;9!7(|4_gn0pS}!#T`34+5J6Sf|wX8n1qlO!T=W&10w?i8xI4JVl3MXGtYy8YM`w|?GD%piU$&SvXL<ZBclid0}~@7BMVe5jAj;LU=&o4"
        "hw>E|#5owm>wzp*plg}AIrxAonHiwIX9N*j7=|R6v20T^!zdU9qhJ(_f>A&WaCi3i0atngNEILu*ufOQ1oBHVQj7F5Oc_!bn304*fC*H|g2b2@p;{P$m949S"
        "j0{4}0{+pk9tERd6pVsVFbYP&C>RB!U=)mkQ7{Sy3IG5|)iU+"
    ),
}
"""What is in them: a model_config with a Lambda layer as text of any or fixed length, also among so many attributes or links that they
lie in a heap of their own; an external link; data in another file; a virtual dataset; and a plain file."""

EXPECTED = {
    "plain": {},
    "attr": {"keras-lambda": "malicious"},
    "fixed": {"keras-lambda": "malicious"},
    "denseattr": {"keras-lambda": "malicious"},
    "link": {"hdf5-external": "malicious"},
    "dense": {"hdf5-external": "malicious"},
    "ext": {"hdf5-external": "malicious"},
    "vds": {"hdf5-external": "malicious"},
}


def content(name):
    return zlib.decompress(base64.b85decode(FILES[name]))


@pytest.mark.parametrize("name", FILES)
def test_files_of_h5py(tmp_path, name):
    assert found(tmp_path, {"model.h5": content(name)}) == EXPECTED[name.split()[0]]


@pytest.mark.parametrize("name", FILES)
def test_neither_the_name_nor_a_block_before_hides_it(tmp_path, name):
    rules = found(tmp_path, {"anything": b"\0" * 512 + content(name)})
    assert EXPECTED[name.split()[0]].items() <= rules.items() or "malformed" in rules


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_is_never_clean(tmp_path, name):
    whole = content(name)
    for keep in (12, 60, len(whole) // 3):
        assert found(tmp_path, {"model.h5": whole[:keep]})
